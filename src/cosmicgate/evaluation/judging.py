"""One detector on one frame: what is counted, and kept on disk as soon as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.store import Labelled, digest, load_labelled
from cosmicgate.detectors import NEVER, Detection, Detector, seen
from cosmicgate.evaluation.hits import LENGTHS, SNRS, match_hits, snr_map, tally
from cosmicgate.files import whole
from cosmicgate.metrics import LogitHistogram, counts_from_mask
from cosmicgate.tracking import tree_hash

FORMAT = 2  # raise it when something else is counted, or otherwise: old results are then left alone
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One detector on one frame.

    Attributes
    ----------
    settings : ndarray (P,), float64
        Operating points of a detector without scores; empty for a network.
    counts : ndarray (P, 3, 2) or (3, bins), int64
        Sky, core and ring pixels: of each operating point, or by logit.
    at_threshold : ndarray (3, 2), int64
        The same at the detector's own threshold.
    by_length, by_snr : ndarray (classes, 2), int64
        Hits in the truth, and those found, by the classes of :mod:`cosmicgate.evaluation.hits`; at the threshold.
    false_hits : ndarray (), int64
        Predictions that are none; at the threshold.
    """

    settings: NDArray[np.float64]
    counts: Counts
    at_threshold: Counts
    by_length: Counts
    by_snr: Counts
    false_hits: Counts


def frame_of(labelled: Labelled) -> Frame:
    """Return the frame that a detector is shown: the image and what its header says, without the truth."""
    facts = labelled.facts
    return Frame(
        image=np.array(labelled.image),
        gain=facts["gain"],
        read_noise=facts["read_noise"],
        saturation=facts["saturation"],
        exptime=facts["exptime"],
        band=facts["band"],
        name=facts["name"],
        telescope=facts["telescope"],
        bad=np.array(labelled.bad),
    )


def judge(detector: Detector, labelled: Labelled) -> tuple[FrameResult, NDArray[np.bool_]]:
    """Count a detector on one frame; return also its mask (H, W) at its threshold."""
    truth, frame = np.array(labelled.truth), frame_of(labelled)
    detection = seen(detector, frame, labelled.facts.get("dilated", True))
    if labelled.blank is not None:
        detection = _blanked(detection, np.array(labelled.blank))
    mask = mask_at(detection, detector.threshold)
    settings = np.array(sorted(detection.masks))
    if detection.logits is not None:
        histogram = LogitHistogram()
        histogram.update(detection.logits, torch.from_numpy(truth))
        counts = histogram.counts.numpy()  # of this frame; compute() would add what other processes count
    else:
        counts = np.stack([counts_from_mask(detection.masks[setting], truth) for setting in settings])
    hits = match_hits(truth, mask, snr=snr_map(frame.image, frame.gain, frame.read_noise))
    result = FrameResult(
        settings=settings,
        counts=counts,
        at_threshold=counts_from_mask(mask, truth),
        by_length=tally(hits.length, hits.found, LENGTHS),
        by_snr=tally(hits.snr, hits.found, SNRS),
        false_hits=np.array(hits.false_hits, np.int64),
    )
    return result, mask


def _blanked(detection: Detection, blank: NDArray[np.bool_]) -> Detection:
    """Return a detection that says "no hit" of the pixels ``blank`` (H, W)."""
    if detection.logits is not None:
        return Detection(logits=detection.logits.masked_fill(torch.from_numpy(blank), NEVER))
    return Detection(masks={setting: mask & ~blank for setting, mask in detection.masks.items()})


def mask_at(detection: Detection, threshold: float) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a detection at a probability or at one of its settings."""
    if detection.logits is not None:
        return np.asarray((detection.logits.sigmoid() >= threshold).numpy())
    return detection.masks[threshold]


def finished(detector: Detector, folder: Path, kept: Path) -> Path:
    """Return the file of a detector's result on a labelled frame; the detector is run if there is none yet.

    The file's name holds what determines the result: the detector's identity and threshold, and the contents of
    the frame's folder.
    """
    key = digest([FORMAT, detector.identity, detector.threshold, _content(folder)])
    path = kept / f"{folder.name}-{key}.npz"
    if not path.is_file():
        result, mask = judge(detector, load_labelled(folder))
        arrays = {part.name: getattr(result, part.name) for part in fields(result)}
        with whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, mask=np.packbits(mask, axis=1), width=mask.shape[1], **arrays)
    return path


def read_result(path: Path) -> FrameResult:
    """Read what :func:`finished` keeps, without the mask."""
    with np.load(path) as stored:
        return FrameResult(**{part.name: stored[part.name] for part in fields(FrameResult)})


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read the mask (H, W) that :func:`finished` keeps."""
    with np.load(path) as stored:
        return np.unpackbits(stored["mask"], axis=1, count=int(stored["width"])).astype(bool)


def _content(folder: Path) -> str:
    """Hash of a labelled frame; it is read again only when its files have changed."""
    facts = [path.stat() for path in sorted(folder.glob("*"))]
    return _hashed(folder, tuple((f.st_size, f.st_mtime_ns) for f in facts))


@cache
def _hashed(folder: Path, _: Sequence[tuple[int, int]]) -> str:
    return tree_hash(folder)
