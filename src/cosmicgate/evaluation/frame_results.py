"""Score one detector on one frame, and cache the result on disk."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from cosmicgate.data.background import snr_map
from cosmicgate.data.cache import LabelledFrame, digest, load_labelled
from cosmicgate.detectors import NO_HIT_LOGIT, Detection, Detector, detect_for_truth, for_telescope
from cosmicgate.evaluation.hits import LENGTHS, SNRS, match_hits, tally
from cosmicgate.evaluation.operating_points import objects_by_logit, objects_by_setting
from cosmicgate.io.atomic import atomic_path, tree_hash
from cosmicgate.io.fits.frames import Frame
from cosmicgate.metrics import LogitHistogram, counts_from_mask

FORMAT = 4  # increment when counts or their meaning change, so that old cached results are not used
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Counts of one detector on one frame.

    Attributes
    ----------
    settings : ndarray (P,), float64
        Operating points of a detector that gives masks but no logits; empty for a network.
    counts : ndarray (P, 3, 2) or (3, bins), int64
        Numbers of sky, core and ring pixels: not predicted and predicted at each operating point, or by logit bin.
    at_threshold : ndarray (3, 2), int64
        The same pixels, not predicted and predicted at the detector's own threshold.
    by_length, by_snr : ndarray (classes, 2), int64
        Numbers of true hits, and of those found at the threshold, by the classes of
        :mod:`cosmicgate.evaluation.hits`.
    false_hits : ndarray (), int64
        Number of false detections at the threshold.
    objects : ndarray (P, 2) or (2, bins), int64
        Hits found and false objects at each operating point, or by logit bin, as in
        :mod:`cosmicgate.evaluation.operating_points`.
    stars : ndarray (classes, 2), int64
        Numbers of known stars, and of those whose brightest pixel is in the mask at the threshold, by SNRS.
    hot_pixels : ndarray (3,), int64
        Numbers of good pixels, of known hot pixels, and of those in the mask; zeros where none are known.
    """

    settings: NDArray[np.float64]
    counts: Counts
    at_threshold: Counts
    by_length: Counts
    by_snr: Counts
    false_hits: Counts
    objects: Counts
    stars: Counts
    hot_pixels: Counts


def frame_of(labelled: LabelledFrame) -> Frame:
    """Make the frame given to a detector: the image and its header values, without the truth."""
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


def truth_is_dilated(labelled: LabelledFrame) -> bool:
    """Return True if the truth of a frame is dilated by 3x3; masks of detectors that mark cores are then dilated."""
    return bool(labelled.facts.get("dilated", True))


def score_frame(detector: Detector, labelled: LabelledFrame) -> tuple[FrameResult, NDArray[np.bool_]]:
    """Run a detector on one frame; return its counts, and its mask (H, W) at its threshold."""
    truth, frame = np.array(labelled.truth), frame_of(labelled)
    detection = detect_for_truth(detector, frame, truth_is_dilated(labelled))
    if labelled.blank is not None:
        detection = _blanked(detection, np.array(labelled.blank))
    mask = mask_at(detection, for_telescope(detector.threshold, frame.telescope, f"{detector.model}: threshold"))
    settings = np.array(sorted(detection.masks))
    if detection.logits is not None:
        histogram = LogitHistogram()
        histogram.update(detection.logits, torch.from_numpy(truth))
        counts = histogram.counts.numpy()  # of this frame only: compute() would add the counts of other processes
        objects = objects_by_logit(truth, detection.logits)
    else:
        counts = np.stack([counts_from_mask(detection.masks[setting], truth) for setting in settings])
        objects = objects_by_setting(truth, detection.masks)
    hits = match_hits(truth, mask, snr=snr_map(frame.image, frame.gain, frame.read_noise))
    result = FrameResult(
        settings=settings,
        counts=counts,
        at_threshold=counts_from_mask(mask, truth),
        by_length=tally(hits.length, hits.found, LENGTHS),
        by_snr=tally(hits.snr, hits.found, SNRS),
        false_hits=np.array(hits.false_hits, np.int64),
        objects=objects,
        stars=_masked_stars(labelled, mask),
        hot_pixels=_masked_hot_pixels(labelled, mask),
    )
    return result, mask


def _masked_stars(labelled: LabelledFrame, mask: NDArray[np.bool_]) -> Counts:
    """Count the stars of a frame, and those that are masked, by the signal-to-noise ratio of their brightest pixel."""
    stars = labelled.facts.get("stars") or {"row": [], "column": [], "snr": []}
    masked = mask[np.array(stars["row"], np.int64), np.array(stars["column"], np.int64)]
    return tally(np.array(stars["snr"], np.float64), masked, SNRS)


def _masked_hot_pixels(labelled: LabelledFrame, mask: NDArray[np.bool_]) -> Counts:
    """Count the good pixels of a frame, its hot pixels and those that are masked."""
    hot = labelled.facts.get("hot_pixels")
    if hot is None:
        return np.zeros(3, np.int64)
    masked = mask[np.array(hot["row"], np.int64), np.array(hot["column"], np.int64)]
    return np.array([np.sum(~labelled.bad), masked.size, masked.sum()], np.int64)


def _blanked(detection: Detection, blank: NDArray[np.bool_]) -> Detection:
    """Set the pixels ``blank`` (H, W) of a detection to "no hit"."""
    if detection.logits is not None:
        return Detection(logits=detection.logits.masked_fill(torch.from_numpy(blank), NO_HIT_LOGIT))
    return Detection(masks={setting: mask & ~blank for setting, mask in detection.masks.items()})


def mask_at(detection: Detection, threshold: float) -> NDArray[np.bool_]:
    """Threshold a detection at a probability, or take its mask at one of its settings: (H, W)."""
    if detection.logits is not None:
        return np.asarray((detection.logits.sigmoid() >= threshold).numpy())
    return detection.masks[threshold]


def result_path(detector: Detector, folder: Path, cache: Path) -> Path:
    """Compute the path of a detector's cached result on a labelled frame, whether or not it exists.

    The file's name has a hash of what determines the result: the detector's cache key and threshold, and the contents
    of the frame's folder.
    """
    key = digest([FORMAT, detector.cache_key, detector.threshold, _content(folder)])
    return cache / f"{folder.name}-{key}.npz"


def cached_result(detector: Detector, folder: Path, cache: Path) -> Path:
    """Find the cached result of a detector on a labelled frame, running the detector if there is none."""
    path = result_path(detector, folder, cache)
    if not path.is_file():
        start = perf_counter()
        result, mask = score_frame(detector, load_labelled(folder))
        arrays = {part.name: getattr(result, part.name) for part in fields(result)}
        arrays |= {"mask": np.packbits(mask, axis=1), "width": mask.shape[1], "seconds": perf_counter() - start}
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
    return path


def read_result(path: Path) -> FrameResult:
    """Read the counts from a file of :func:`cached_result`."""
    with np.load(path) as stored:
        return FrameResult(**{part.name: stored[part.name] for part in fields(FrameResult)})


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read the mask (H, W) from a file of :func:`cached_result`."""
    with np.load(path) as stored:
        return np.unpackbits(stored["mask"], axis=1, count=int(stored["width"])).astype(bool)


def read_seconds(path: Path) -> float:
    """Read the duration of detection and scoring, s; NaN for results of versions that did not measure it."""
    with np.load(path) as stored:
        return float(stored["seconds"]) if "seconds" in stored else math.nan


def _content(folder: Path) -> str:
    """Hash a labelled frame; the files are read again only if their sizes or modification times have changed."""
    facts = [path.stat() for path in sorted(folder.glob("*"))]
    return _hashed(folder, tuple((f.st_size, f.st_mtime_ns) for f in facts))


@functools.cache
def _hashed(folder: Path, _: Sequence[tuple[int, int]]) -> str:
    return tree_hash(folder)
