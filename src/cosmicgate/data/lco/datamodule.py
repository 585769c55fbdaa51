"""The LCO cosmic-ray data set (Xu et al. 2023, Zenodo 5034763): one test set per telescope class."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosmicgate.config import ConfigError
from cosmicgate.data.background import dilate
from cosmicgate.data.cache import digest, save_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.lco.io import CLASSES, ENDING, MaskedSequence, read_sequence
from cosmicgate.data.patches import CropSampler, GridSampler, PatchDataModule, PatchDataset, PatchSampler
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.splits import SPLITS, Split, split
from cosmicgate.data.transforms import Transform
from cosmicgate.io.atomic import write_json
from cosmicgate.io.fits.instruments import camera_name
from cosmicgate.io.messages import with_progress

log = logging.getLogger(__name__)

Part = Literal["test", "train"]
OTHER = "other"  # telescopes that are not of an LCO class
COUNTS = ("frames", "pixels", "hit_pixels", "ignored_pixels")


@dataclass(frozen=True)
class CachedSequence:
    """A file whose frames are stored as labelled frames, in the format of :mod:`cosmicgate.data.cache`."""

    path: Path
    telescope: str
    camera: str
    data_origin: DataOrigin
    counts: dict[str, int]
    folders: tuple[Path, ...]


@dataclass(eq=False)
class LCO(PatchDataModule):
    """Sequences of frames with masks, as one test set per telescope class; training uses the data set's own train part.

    Attributes
    ----------
    root : str
        Cache folder; its ``summary.json`` lists the files that were read and skipped.
    folder : str, optional
        ``LCO_CR_dataset``, or any folder with files ``*_masks.fits``.
    archive : callable, optional
        Function that returns this folder if ``folder`` is None; it downloads or simulates missing files.
    part : {"test", "train"}
        Part of ``LCO_CR_dataset`` that is scored. Training uses ``train_set``, and needs "test" here.
    on_error : {"skip", "refuse"}
        Whether to skip damaged, truncated or unknown files with a warning, or to raise an error.
    ignored : {"leave_out", "negative"}
        Treatment of the pixels that IGNORE marks. "leave_out": they are not scored. "negative": they are sky, and
        detections in them are removed before scoring, as the authors of the data set do.
    dilate : bool
        Whether to add a 3x3 ring to the hits, as the paper does for its test (section 4.2). The masks of the data set
        have none.
    name : str
        Prefix of the test sets: NAME_0m4, NAME_1m0, NAME_2m0. Those of other telescopes are named after the camera.
    validation_fraction : float
        Fraction of the sequences of ``train_set`` that are validated on instead of trained on.
    windows, transforms, patch, batch_size, num_workers, seed
        As in :class:`~cosmicgate.data.datamodule.DecamData`; for training alone.
    """

    root: str
    folder: str | None = None
    archive: Callable[[], Path] | None = None
    part: Part = "test"
    on_error: Literal["skip", "refuse"] = "skip"
    ignored: Literal["leave_out", "negative"] = "leave_out"
    dilate: bool = True
    name: str = "lco"
    validation_fraction: float = 0.1
    windows: PatchSampler = field(default_factory=lambda: CropSampler(128, 1600))
    transforms: Sequence[Transform] = ()
    patch: int = 256
    batch_size: int = 16
    num_workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._read: dict[Part, tuple[list[CachedSequence], list[tuple[Path, str]]]] = {}

    def prepare_data(self) -> None:
        """Read the files of both parts that are not cached yet."""
        self.prepare_test()
        if self._trainable:
            self._files("train")

    def prepare_test(self) -> None:
        """Read the files of the test part that are not cached yet, and write the summary."""
        read, skipped = self._files(self.part)
        classes: dict[str, Counter[str]] = {}
        for stored in read:
            classes.setdefault(stored.telescope, Counter()).update({"sequences": 1} | stored.counts)
        summary = {
            "provenance": self.data_origin,
            "read": len(read),
            "skipped": [{"file": str(path), "reason": reason} for path, reason in skipped],
            "classes": {telescope: dict(counts) for telescope, counts in sorted(classes.items())},
        }
        write_json(Path(self.root).expanduser() / "summary.json", summary)
        log.info("%s (%s): %d file(s) read, %d skipped", self.name, self.data_origin, len(read), len(skipped))

    def setup(self, stage: str | None = None) -> None:
        """Open the training and validation frames."""
        if stage not in (None, "fit", "validate"):
            return
        self.train = PatchDataset(self.split("train"), self.windows, self.transforms, self.seed)
        self.validation = PatchDataset(self.split("validation"), GridSampler(self.patch), (), self.seed)

    def split(self, which: Split) -> list[Path]:
        """List the folders of a split's labelled frames; a sequence is in one split.

        Raises
        ------
        ConfigError
            If there is no part of the data set to train on.
        """
        if which == "test":
            return [folder for stored in self._files(self.part)[0] for folder in stored.folders]
        if not self._trainable:
            missing = "train_set is scored" if self.part == "train" else f"there is no {self._folder / 'train_set'}"
            raise ConfigError(
                f"data: {missing}, nothing is left to train on; train on another data set, for example data=decam"
            )
        fractions = {"train": 1 - self.validation_fraction, "validation": self.validation_fraction}
        splits = split(self._files("train")[0], fractions, random_stream("LCO validation", 0))
        return [folder for stored in splits[which] for folder in stored.folders]

    @property
    def _trainable(self) -> bool:
        return self.part == "test" and (self._folder / "train_set").is_dir()

    def folders(self) -> list[Path]:
        """List the folders of the labelled frames of all splits."""
        return [folder for which in SPLITS for folder in self.split(which)]

    def test_sets(self) -> list[TestSet]:
        """List a test set for each telescope class, or other camera, that has frames."""
        sets: dict[str, list[Path]] = {f"{self.name}_{telescope}": [] for telescope in CLASSES}
        for stored in self._files(self.part)[0]:
            known = stored.telescope in CLASSES
            sets.setdefault(f"{self.name}_{stored.telescope}" if known else stored.camera, []).extend(stored.folders)
        return [self._test_set(name, folders) for name, folders in sets.items() if folders]

    def _test_set(self, name: str, folders: list[Path]) -> TestSet:
        """Make a test set; if it is the published test part, scored with a ring, give it the benchmark's name."""
        theirs = self.data_origin == "real" and self.part == "test" and self.dilate and self._folder_is_data_set
        telescope = name.removeprefix(f"{self.name}_")
        benchmark = f"lco_{telescope}" if theirs and telescope in CLASSES else ""
        return TestSet(name, self.data_origin, tuple(folders), benchmark)

    @cached_property
    def _folder_is_data_set(self) -> bool:
        """Whether the folder has the structure of ``LCO_CR_dataset``, unlike a folder of a user's own labels."""
        return (self._folder / "test_set").is_dir()

    @property
    def data_origin(self) -> DataOrigin:
        """Data origin according to the files' headers; raises ValueError if there are real and simulated files."""
        kinds = {stored.data_origin: stored.path.name for stored in self._files(self.part)[0]}
        if len(kinds) > 1:
            both = " and ".join(f"{name} ({kind})" for kind, name in sorted(kinds.items()))
            raise ValueError(f"real and simulated files in one folder, {both}: keep them apart, a table has one kind")
        return next(iter(kinds))

    def _files(self, part: Part) -> tuple[list[CachedSequence], list[tuple[Path, str]]]:
        """Read the files of a part, once; list those that were read, and those that were skipped, with the reason."""
        if part not in self._read:
            self._read[part] = self._read_files(part)
        return self._read[part]

    def _read_files(self, part: Part) -> tuple[list[CachedSequence], list[tuple[Path, str]]]:
        read, skipped = [], []
        for path in with_progress(masked_files(self._folder, part), self.name, "read", "sequence"):
            try:
                read.append(self._stored(path))
            except ValueError as error:
                if self.on_error == "refuse":
                    raise ValueError(f"{error}; data.on_error=skip leaves it out") from error
                log.warning("skipped: %s", error)
                skipped.append((path, str(error)))
        if not read:
            raise ValueError(f"none of {len(skipped)} file(s) could be read; the first: {skipped[0][1]}")
        return read, skipped

    @cached_property
    def _folder(self) -> Path:
        if self.folder is None and self.archive is None:
            raise ValueError("data=lco: give data.folder=DIR: LCO_CR_dataset, or any folder with files *_masks.fits")
        folder = Path(self.folder).expanduser() if self.folder is not None else self.archive() if self.archive else None
        if folder is None or not folder.is_dir():
            raise FileNotFoundError(f"no such folder: {str(folder)!r}")
        return folder

    def _stored(self, path: Path) -> CachedSequence:
        """Look up a file in the cache; read and store it first if it is not there."""
        status, stem = path.stat(), path.name.split(ENDING)[0]
        key = digest(["LCO sequence", path.name, status.st_size, status.st_mtime_ns, self.ignored, self.dilate])
        folder = Path(self.root).expanduser() / "sequences" / f"{stem}-{key}"
        note = folder / "sequence.json"  # written last: marks a complete folder
        if not note.is_file():
            self._store(read_sequence(path), folder, note, path)
        facts = json.loads(note.read_text())
        folders = tuple(folder / name for name in facts["folders"])
        camera = facts.get("camera", f"{self.name}_{OTHER}")
        return CachedSequence(path, facts["telescope"], camera, facts["provenance"], facts["counts"], folders)

    def _store(self, sequence: MaskedSequence, folder: Path, note: Path, path: Path) -> None:
        file = path.name
        counts = dict.fromkeys(COUNTS, 0)
        names: list[str] = []
        for exposure, hits, ignore in zip(sequence.exposures, sequence.hits, sequence.ignore, strict=True):
            frame, ignored = exposure.frame, ignore > 0
            truth = self._truth(hits, ignored)
            names.append(f"{len(names)}-{file.split(ENDING)[0]}")
            if not (folder / names[-1]).is_dir():
                settings = {"ignored": self.ignored, "dilated": self.dilate}
                field = {"name": frame.name, "file": file, "field": file.split(ENDING)[0]}
                blank = ignored if self.ignored == "negative" else None
                save_labelled(frame, truth, field | settings, folder / names[-1], blank)
            one = (1, truth.size, int((truth == CORE).sum()), int(ignored.sum()))
            counts = {key: counts[key] + number for key, number in zip(COUNTS, one, strict=True)}
        telescope = sequence.exposures[0].frame.telescope or OTHER
        camera = camera_name([sequence.exposures[0].header], path)
        facts = {"telescope": telescope, "camera": camera, "provenance": sequence.data_origin}
        write_json(note, facts | {"counts": counts, "folders": names})

    def _truth(self, hits: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Convert hits and ignored pixels (H, W) to the codes of :mod:`cosmicgate.data.pixel_labels`."""
        ring = dilate(hits) if self.dilate else hits
        beyond = SKY if self.ignored == "negative" else IGNORED
        return np.select([ignored, hits, ring], [beyond, CORE, RING], SKY).astype(np.uint8)


def masked_files(folder: Path, split: Part) -> list[Path]:
    """List the files ``*_masks.fits`` below one part of ``LCO_CR_dataset``, or below another folder, sorted.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If there is a file twice, compressed and not.
    """
    parts = [folder / f"{name}_set" for name in ("test", "train")]
    home = folder / f"{split}_set" if any(part.is_dir() for part in parts) else folder
    endings = tuple(f"{ENDING}{packed}" for packed in ("", ".fz", ".gz"))
    files = [p for p in home.rglob(f"*{ENDING}*") if p.name.endswith(endings) and not p.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"no file *{ENDING} below {str(home)!r}")
    twins = Counter((path.parent, path.name.split(ENDING)[0]) for path in files)
    if twice := [folder / f"{name}{ENDING}" for (folder, name), number in twins.items() if number > 1]:
        raise ValueError(f"{twice[0]} is there twice, compressed and not: remove one of them")
    return sorted(files)
