"""Labelled frames of one camera as training data: as they are, and with further hits added to them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.background import background, dark_mask, dilate, subtracted_sky
from cosmicgate.data.cache import LazyFrame, classes_of_others, digest, pixels_sha256, save_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.lco.io import (
    ENDING,
    IGNORE_BRIGHTER,
    IGNORE_HOT,
    IGNORE_NO_DATA,
    IGNORE_SOURCE,
    IGNORE_STATIC,
    SIMULATED,
    Exposure,
    MaskedSequence,
    read_sequence,
)
from cosmicgate.data.patches import CropSampler, PatchDataModule, PatchDataset, PatchSampler, check_loading
from cosmicgate.data.pixel_labels import CORE, IGNORED, KERNEL_3X3, RING, SKY
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.simulation.ccd import CCD, DECAM
from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import FRACTIONS, file_fingerprint, find_file, find_frames
from cosmicgate.data.sources.footprints import Footprints, scatter, stamps, write_stamps
from cosmicgate.data.sources.frames_with_truth import FramesWithTruth
from cosmicgate.data.sources.injection import HitInjector
from cosmicgate.data.sources.raw_darks.repeats import compare_darks
from cosmicgate.data.splits import SPLITS, Split, check_splits, split, split_exposures
from cosmicgate.data.transforms import Transform
from cosmicgate.io.atomic import remove_stale_temp_files
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import header_value, open_fits, stem
from cosmicgate.io.messages import with_progress

PEDESTAL = "CRPEDEST"  # card of a labelled exposure: level of the darks (ADU), which is no light
SKY_REACH = 6  # pixels around a hit in which its sky is measured
MIN_PIXELS = 2  # minimum number of pixels of a hit that is taken from an exposure or a dark
DARK_FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}  # of the hits in darks
SIMULATED_HITS = {"train": 400, "validation": 100, "test": 100}  # mean numbers of simulated particles
SIMULATED_SHAPE = (1024, 1024)  # pixels of the detector in which they are simulated
PARTICLES = 1.8  # per square centimetre and minute, muons and Compton recoils of a thick detector

Stamp = NDArray[np.float32]
Kind = Literal["natural", "added"]


@dataclass(eq=False)
class LabelledExposures(PatchDataModule):
    """Exposures that :mod:`cosmicgate.data.labelling` has labelled, or frames with truth planes, split by field.

    Each exposure is used as it is, and ``injections_per_exposure`` times with hits added at random positions: hits of
    other exposures of the same split, hits of darks, hits from a table, and simulated ones. A hit is used in one split
    only. Pixels of stars and static pixels are sky, unless they are brighter than in the other exposures; all others
    that IGNORE marks are ignored.

    Attributes
    ----------
    root : str
        Folder with the labels, ``labels/FIELD_masks.fits``; the frames and the tables of hits are kept beside them.
    exposures : mapping of split to mapping, optional
        For each split: name of a field -> numbers of its exposures, counted from 0. None: those of ``frames``, split by
        ``fractions``.
    skies : mapping of str to str
        Name of the sky of a field that others show as well, in other filters for example.
    name : str
        Name of the test set of the held-out exposures. That with added hits is called NAME_added_hits.
    injections_per_exposure : int
        Number of training frames with added hits made from each exposure.
    density : float
        Mean number of hits added per megapixel.
    contamination : HitInjector
        Recipe that adds hits to a frame.
    ring : bool
        Whether the ring around a hit is positive in training. If False it is ignored: the network learns masks as thin
        as the hits. Test frames always have a ring.
    darks : sequence of str
        Files of darks, whose hits are added.
    header_overrides : mapping
        Values that override the headers of the darks: gain, read_noise, saturation, exptime.
    ext : str
        Image of each file of a dark, by EXTNAME, number or ``NAME,VERSION``; empty if there is only one.
    thickness, pixel_size : float, optional
        Depth of the silicon that collects charge and side of a pixel, micrometres. If given, simulated hits are added.
    frames : FramesWithTruth, optional
        Frames of one camera with truth planes, used instead of labels in ``root``. Their darks give hits. Hot pixels,
        found by comparing the frames, are sky.
    fractions : mapping of split to float
        Fractions of the fields of ``frames`` in each split, or of the frames if there are fewer than three fields.
    footprints : Footprints, optional
        Table of real hits; those of a split are added in this split.
    windows, validation_windows : PatchSampler
        Samplers of the training patches, and of the validation patches, which are the same in each epoch.
    transforms, batch_size, num_workers, seed
        As in :class:`~cosmicgate.data.datamodule.DecamData`.
    """

    root: str
    exposures: Mapping[str, Mapping[str, Sequence[int]]] | None = None
    skies: Mapping[str, str] = field(default_factory=dict)
    name: str = "labelled_exposures"
    injections_per_exposure: int = 2
    density: float = 100.0
    contamination: HitInjector = field(default_factory=lambda: HitInjector(n_sigma=2.5, ignore_sigma=0.3))
    ring: bool = False
    darks: Sequence[str] = ()
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    ext: str = ""
    thickness: float | None = None
    pixel_size: float | None = None
    frames: FramesWithTruth | None = None
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    footprints: Footprints | None = None
    windows: PatchSampler = field(default_factory=lambda: CropSampler(128, 640, 0.75))
    validation_windows: PatchSampler = field(default_factory=lambda: CropSampler(128, 480, 0.5))
    transforms: Sequence[Transform] = ()
    batch_size: int = 16
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        if (self.exposures is None) == (self.frames is None):
            raise ValueError(f"{self.name}: expected either exposures, labelled in root, or frames with truth planes")
        check_loading(self.batch_size, self.num_workers)
        if self.injections_per_exposure < 0 or self.density < 0:
            given = f"injections_per_exposure={self.injections_per_exposure}, density={self.density:g}"
            raise ValueError(f"{given}: expected numbers from 0 on")
        check_splits(self.exposures or {})
        check_detector(self.thickness, self.pixel_size)

    @cached_property
    def data_origin(self) -> DataOrigin:
        """Data origin of the exposures: simulated if any header says so."""
        if self.frames is not None:
            return self.frames.data_origin
        simulated = False
        for path in {self._file(name) for fields in self._splits.values() for name in fields}:
            with open_fits(path) as hdus:
                simulated |= bool(hdus[0].header.get(SIMULATED, False))
        return "simulated" if simulated else "real"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras of ``frames``, by their headers."""
        return self.frames.cameras if self.frames is not None else ()

    def prepare_data(self) -> None:
        """Make the tables of hits and the frames that are missing on disk."""
        for which in SPLITS[:2]:
            if not stamps(self._hit_table_path(which), 1, 0):
                raise ValueError(
                    f"{self.name}: no hit was found in the exposures of the split {which!r}, so there is nothing to "
                    "learn from or to compare by: give more or longer exposures, darks, or the thickness and pixel "
                    "size of the detector"
                )
        self._prepare(SPLITS)

    def prepare_test(self) -> None:
        """Make the missing test frames alone."""
        self._prepare(("test",))

    def _prepare(self, splits: Sequence[Split]) -> None:
        remove_stale_temp_files(self._folder / "frames", self._folder / "hits")
        missing: dict[str, list[tuple[Path, Split, int, int | None]]] = {}
        for which in splits:
            for path, field_name, number, draw in self._frames(which):
                if not path.is_dir():
                    missing.setdefault(field_name, []).append((path, which, number, draw))
        for field_name in with_progress(list(missing), f"{self.name}: frames", "made", "field"):
            sequence = self._sequence(field_name)
            for path, which, number, draw in missing[field_name]:
                self._make_frame(sequence, path, which, field_name, number, draw)

    def _make_frame(
        self, sequence: MaskedSequence, path: Path, which: Split, field_name: str, number: int, draw: int | None
    ) -> None:
        """Make a frame of a field; its facts name the sky that it shares with others."""
        exposure = sequence.exposures[number]
        frame, truth = exposure.frame, truth_of(sequence.hits[number], sequence.ignore[number])
        if draw is not None:
            # By field, not by path.name, which depends on the times of files.
            name = field_name if len(self._splits[which]) > 1 else f"{field_name}-{number}"
            rng = random_stream(f"hits added to {name}", self.seed, draw, number)
            frame, truth = self._add_hits(exposure, truth, which, rng)
        if which != "test" and not self.ring:
            truth[truth == RING] = IGNORED
        skies = {self.skies.get(name, name) for name in self._splits[which]}
        sky = self.skies.get(field_name, field_name) if len(skies) > 1 else f"{field_name}-{number}"
        facts = {"name": frame.name, "field": sky, "draw": draw, "dilated": which == "test" or self.ring}
        facts |= {"sky_sha256": pixels_sha256(exposure.frame.image)}
        save_labelled(frame, truth, facts, path)

    def _add_hits(
        self, exposure: Exposure, truth: NDArray[np.uint8], which: Split, rng: np.random.Generator
    ) -> tuple[Frame, NDArray[np.uint8]]:
        """Add hits to a frame, and their labels to its truth (H, W)."""
        frame, table = exposure.frame, stamps(self._hit_table_path(which), 1, 0)
        number = rng.poisson(self.density * frame.image.size / 1e6)
        charge = scatter(list(rng.choice(sorted(table), max(number, 1))), table, frame.shape, rng)
        pedestal = header_value(exposure.header, PEDESTAL)
        sky = np.float32(subtracted_sky(frame) if pedestal is None else -float(pedestal))
        light = replace(frame, image=frame.image + sky, saturation=frame.saturation + float(sky))
        exposed, added = self.contamination(light, charge, truth == IGNORED)
        kept = (truth == CORE) | ((truth == RING) & (added == SKY))
        image = np.where(charge > 0, exposed.image - sky, frame.image).astype(np.float32)
        return replace(frame, image=image), np.where(kept, truth, added).astype(np.uint8)

    def _frames(self, which: Split, kinds: Sequence[Kind] = ("natural", "added")) -> Iterator[Any]:
        """Yield folder, field, number of the exposure and draw (None: as it is) of the frames of a split."""
        added = "added" in kinds and bool(stamps(self._hit_table_path(which), 1, 0))
        draws: list[int | None] = [None] if "natural" in kinds else []
        draws += list(range(self.injections_per_exposure if which == "train" else 1)) if added else []
        for field_name, numbers in self._splits.get(which, {}).items():
            files, name = self._cache_key_parts(field_name), re.sub(r"[^\w.+-]+", "-", field_name)
            for number in numbers:
                for draw in draws:
                    parts: list[Any] = ["labelled exposure", *files, number, which == "test" or self.ring]
                    if draw is not None:
                        table = self._hit_table_path(which).name
                        parts += [draw, self.density, asdict(self.contamination), self.seed, table]
                        parts += classes_of_others(self.contamination)
                    path = self._folder / "frames" / f"{name}-{number}-{digest(parts)}"
                    yield path, field_name, number, draw

    def _hit_table_path(self, which: Split) -> Path:
        """Locate the table of the hits of a split; make it first if it is missing."""
        fields = self._splits.get(which, {})
        files = [(self._cache_key_parts(name), list(numbers)) for name, numbers in fields.items()]
        darks, header_overrides = self._darks
        dark_files = [file_fingerprint(p) for p in darks]
        parts = ["hits", which, files, dark_files, header_overrides, self.thickness, self.pixel_size, self.seed]
        parts += [self.ext] * bool(self.ext)
        parts += [self.footprints.table_cache_key_parts()] if self.footprints is not None else []
        path = self._folder / "hits" / f"{which}-{digest(parts)}.fits"
        if not path.is_file():
            hits = [*self._labelled_hits(which), *self._dark_hits(which), *self._simulated_hits(which)]
            write_stamps(hits + (self.footprints.stamps_of(which) if self.footprints is not None else []), path)
        return path

    def _labelled_hits(self, which: Split) -> Iterator[Stamp]:
        for field_name, numbers in self._splits.get(which, {}).items():
            sequence = self._sequence(field_name)
            for number in numbers:
                hits, free = sequence.hits[number], sequence.ignore[number] == 0
                yield from cut_stamps(sequence.exposures[number].frame, hits, free)

    def _dark_hits(self, which: Split) -> Iterator[Stamp]:
        if len(self._all_dark_hits) >= len(SPLITS):
            yield from split(self._all_dark_hits, DARK_FRACTIONS, random_stream("hits of darks", self.seed))[which]

    @cached_property
    def _all_dark_hits(self) -> list[Stamp]:
        paths, header_overrides = self._darks
        ext = self.ext or None
        lazy_frames = [
            LazyFrame(
                stem(path),
                ["dark", *file_fingerprint(path), header_overrides, *[ext] * bool(ext)],
                partial(read_frame, path, ext, **header_overrides),
            )
            for path in paths
        ]
        darks = (lazy.build() for lazy in compare_darks(lazy_frames, self.name)) if paths else ()
        return [stamp for dark in darks for stamp in cut_stamps(dark, dark_mask(dark), ~dark.bad)]

    def _simulated_hits(self, which: Split) -> Iterator[Stamp]:
        if self.thickness is None or self.pixel_size is None:
            return
        ccd = detector(self.thickness, self.pixel_size)
        minutes = SIMULATED_HITS[which] / (PARTICLES * ccd.area)
        charge = cosmic_rays(ccd, 60 * minutes, random_stream("simulated hits", self.seed, SPLITS.index(which)))
        labels, _ = ndimage.label(charge > 0, KERNEL_3X3)
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            yield np.where(labels[box] == number, charge[box], 0).astype(np.float32)

    def setup(self, stage: str | None = None) -> None:
        """Open the training and validation frames."""
        if stage not in (None, "fit", "validate"):
            return
        self.train = PatchDataset(self.split("train"), self.windows, self.transforms, self.seed)
        self.validation = PatchDataset(self.split("validation"), self.validation_windows, (), self.seed)

    def split(self, which: Split, kind: Kind | None = None) -> list[Path]:
        """List the folders of a split's frames: those of one kind, or all of them."""
        folders = [path for path, *_ in self._frames(which, (kind,) if kind else ("natural", "added"))]
        if not folders and kind is None:
            raise ValueError(f"{self.name}: no exposure in the {which!r} split")
        return folders

    def folders(self) -> list[Path]:
        """List the folders of the frames of all splits."""
        return [folder for which in SPLITS for folder in self.split(which)]

    def test_sets(self) -> list[TestSet]:
        """List the test sets: the held-out exposures as they are, and with added hits."""
        natural, added = (tuple(self.split("test", kind)) for kind in ("natural", "added"))
        semireal: DataOrigin = "semi-real" if self.data_origin == "real" else "simulated"
        sets = [TestSet(self.name, self.data_origin, natural), TestSet(f"{self.name}_added_hits", semireal, added)]
        return [test_set for test_set in sets if test_set.folders]

    @property
    def _folder(self) -> Path:
        return Path(self.root).expanduser()

    @cached_property
    def _splits(self) -> Mapping[Any, Mapping[str, Sequence[int]]]:
        """For each split: name of a field -> numbers of its exposures. The seed of a training does not change it."""
        if self.exposures is not None:
            return self.exposures
        fields = {name: len(paths) for name, paths in self._paths.items()}
        return split_exposures(fields, self.fractions, random_stream("splits of real frames", 0))

    @cached_property
    def _paths(self) -> dict[str, list[Path]]:
        """Files of each field of ``frames``."""
        return {} if self.frames is None else self.frames.fields()

    @property
    def _darks(self) -> tuple[list[Path], dict[str, Any]]:
        """Files of the darks, and the values that override their headers."""
        if self.frames is not None and self.frames.darks:
            return find_frames(self.frames.darks), dict(self.frames.header_overrides)
        return [find_file(path) for path in self.darks], dict(self.header_overrides)

    def _cache_key_parts(self, field_name: str) -> list[Any]:
        """List what determines the exposures and labels of a field."""
        if self.frames is None:
            return [*file_fingerprint(self._file(field_name))]
        others = [file_fingerprint(path) for path in self.frames.paths()]  # with which hot pixels are found
        return [*(self.frames.cache_key_parts(path) for path in self._paths[field_name]), others]

    def _sequence(self, field_name: str) -> MaskedSequence:
        """Read the exposures of a field with their masks."""
        if self.frames is None:
            return read_sequence(self._file(field_name))
        exposures, hits, ignored = [], [], []
        for path in self._paths[field_name]:
            frame = self.frames.read(path)
            truth = self.frames.read_truth(path, frame)
            ignore = np.where(_unknown(truth), IGNORE_NO_DATA, 0).astype(np.uint8)
            if hot := self.frames.known_objects.facts(path, truth).get("hot_pixels"):
                ignore[hot["row"], hot["column"]] = IGNORE_HOT | IGNORE_STATIC
            exposures.append(Exposure(frame, fits.Header()))
            hits.append(truth == CORE)
            ignored.append(ignore)
        return MaskedSequence(tuple(exposures), tuple(hits), tuple(ignored))

    def _file(self, field_name: str) -> Path:
        return self._folder / "labels" / f"{field_name}{ENDING}"


def _unknown(truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the pixels (H, W) of pixel labels that are ignored; a ring is not known where it is wider than 3x3."""
    return np.asarray((truth == IGNORED) | ((truth == RING) & ~dilate(truth == CORE)))


def truth_of(hits: NDArray[np.bool_], ignore: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert hits and the bits of IGNORE (H, W) to pixel labels with a ring around each hit.

    Sources that are no brighter than in the other exposures, and pixels that are bright in all of them, are sky. Pixels
    that may be hits are ignored with a ring, as masks are dilated before they are scored.
    """
    static = (ignore & IGNORE_STATIC) > 0
    left = ignore & ~np.uint8(IGNORE_SOURCE | IGNORE_STATIC)
    left = np.where(static, left & ~np.uint8(IGNORE_HOT), left)
    doubtful = dilate((left & (IGNORE_HOT | IGNORE_BRIGHTER)) > 0)
    truth = np.select([left > 0, hits, dilate(hits), doubtful], [IGNORED, CORE, RING, IGNORED], SKY)
    return truth.astype(np.uint8)


def cut_stamps(frame: Frame, hits: NDArray[np.bool_], free: NDArray[np.bool_]) -> Iterator[Stamp]:
    """Cut the hits of a frame out, as images (h, w) of their charge, electrons.

    Parameters
    ----------
    frame : Frame
        A frame that is read out.
    hits, free : ndarray (H, W), bool
        Pixels of the hits, and pixels in which the sky may be measured. Around the hits, only charge above one sigma
        counts.
    """
    labels, _ = ndimage.label(hits, KERNEL_3X3)
    sigma = background(frame)[1]
    dilated = dilate(hits)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if np.count_nonzero(labels[box] == number) < MIN_PIXELS:
            continue
        wide = tuple(slice(max(side.start - SKY_REACH, 0), side.stop + SKY_REACH) for side in box)
        around = free[wide] & ~dilated[wide]
        if not around.any():
            continue
        hit = labels[wide] == number
        excess = frame.image[wide] - np.median(frame.image[wide][around])
        ring = dilate(hit) & ~hits[wide] & (excess > sigma)
        charge = np.where(hit | ring, np.maximum(excess, 0) * frame.gain, 0).astype(np.float32)
        rows, columns = (np.flatnonzero((charge > 0).any(axis=axis)) for axis in (1, 0))
        if rows.size:
            yield charge[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def check_detector(thickness: float | None, pixel_size: float | None) -> None:
    """Raise ValueError unless thickness and pixel size, micrometres, are both plausible or both None."""
    if (thickness is None) != (pixel_size is None):
        raise ValueError(f"thickness={thickness}, pixel_size={pixel_size}: expected both, in micrometres, or neither")
    for name, value, most in (("thickness", thickness, 2000.0), ("pixel_size", pixel_size, 100.0)):
        if value is not None and not 1 <= value <= most:
            raise ValueError(f"{name}={value:g}: expected 1 to {most:g} micrometres")


def detector(thickness: float, pixel_size: float) -> CCD:
    """Describe a detector by its thickness and pixel size, micrometres; its diffusion is scaled from that of DECam."""
    scale = math.sqrt(thickness / DECAM.thickness)
    return replace(
        DECAM,
        shape=SIMULATED_SHAPE,
        pixel=pixel_size,
        thickness=thickness,
        diffusion_min=scale * DECAM.diffusion_min,
        diffusion_max=scale * DECAM.diffusion_max,
    )
