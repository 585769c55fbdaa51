"""The LCO cosmic-ray data set (Xu et al. 2023, Zenodo 5034763): a test by class of telescope, never a training."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cosmicgate.data.clean import dilate
from cosmicgate.data.decam import TestSet
from cosmicgate.data.lco.masked_fits import CLASSES, ENDING, MaskedSequence, read_sequence
from cosmicgate.data.sources import Provenance
from cosmicgate.data.store import digest, save_labelled
from cosmicgate.tracking import write_json
from cosmicgate.truth import CORE, IGNORED, RING, SKY

log = logging.getLogger(__name__)

OTHER = "other"  # telescopes of no LCO class
COUNTS = ("frames", "pixels", "hit_pixels", "ignored_pixels")


@dataclass(frozen=True)
class Stored:
    """A file that was read: its frames lie in folders, as :mod:`cosmicgate.data.store` has them."""

    path: Path
    telescope: str
    provenance: Provenance
    counts: dict[str, int]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class LCO:
    """Sequences of masked frames from files: a test set for each class of telescopes.

    Attributes
    ----------
    root : str
        Folder of what is made of the files, once; ``summary.json`` in it says what was read and what was not.
    folder : str, optional
        ``LCO_CR_dataset``, or any folder with files ``*_masks.fits``.
    archive : callable, optional
        Returns that folder where none is given: it fetches or simulates what is not there.
    split : {"test", "train"}
        Which part of ``LCO_CR_dataset``. Both are scored, neither trains.
    on_error : {"skip", "refuse"}
        What to do with files that are broken, cut short or of another layout: name them and go on, or stop.
    ignored : {"leave_out", "negative"}
        Pixels that IGNORE marks are not counted; or, as the data set's authors score, they are sky, and whatever a
        detector says of them becomes no.
    dilate : bool
        Give the hits a ring of 3x3, as the DECam truth has it. The data set's own have none.
    name : str
        The test sets are NAME_0m4, NAME_1m0, NAME_2m0; NAME_other for telescopes that are not LCO's.
    """

    root: str
    folder: str | None = None
    archive: Callable[[], Path] | None = None
    split: Literal["test", "train"] = "test"
    on_error: Literal["skip", "refuse"] = "skip"
    ignored: Literal["leave_out", "negative"] = "leave_out"
    dilate: bool = False
    name: str = "lco"

    def prepare_data(self) -> None:
        """Read what has not been read, and write the summary."""
        read, skipped = self._files
        classes: dict[str, Counter[str]] = {}
        for stored in read:
            classes.setdefault(stored.telescope, Counter()).update({"sequences": 1} | stored.counts)
        summary = {
            "provenance": self.provenance,
            "read": len(read),
            "skipped": [{"file": str(path), "reason": reason} for path, reason in skipped],
            "classes": {telescope: dict(counts) for telescope, counts in sorted(classes.items())},
        }
        write_json(Path(self.root).expanduser() / "summary.json", summary)
        log.info("%s (%s): %d file(s) read, %d skipped", self.name, self.provenance, len(read), len(skipped))

    def prepare_test(self) -> None:
        """Read what has not been read: all of it is a test."""
        self.prepare_data()

    def test_sets(self) -> list[TestSet]:
        """Return a test set for each class that has frames."""
        sets = []
        for telescope in (*CLASSES, OTHER):
            folders = tuple(folder for s in self._files[0] if s.telescope == telescope for folder in s.folders)
            if folders:
                sets.append(TestSet(f"{self.name}_{telescope}", self.provenance, folders))
        return sets

    @property
    def provenance(self) -> Provenance:
        """What the files' headers say; files of both kinds together are refused."""
        kinds = {stored.provenance: stored.path.name for stored in self._files[0]}
        if len(kinds) > 1:
            both = " and ".join(f"{name} ({kind})" for kind, name in sorted(kinds.items()))
            raise ValueError(f"real and simulated files in one folder, {both}: keep them apart, a table has one kind")
        return next(iter(kinds))

    @cached_property
    def _files(self) -> tuple[list[Stored], list[tuple[Path, str]]]:
        """The files that were read, and those that were not, with the reason."""
        read, skipped = [], []
        for path in tqdm(masked_files(self._home(), self.split), desc=f"{self.name}: sequences", unit="file"):
            try:
                read.append(self._stored(path))
            except ValueError as error:
                if self.on_error == "refuse":
                    raise ValueError(f"{error}; data.on_error=skip would go on without it") from error
                log.warning("skipped: %s", error)
                skipped.append((path, str(error)))
        if not read:
            raise ValueError(f"none of {len(skipped)} file(s) could be read; the first: {skipped[0][1]}")
        return read, skipped

    def _home(self) -> Path:
        if self.folder is None and self.archive is None:
            raise ValueError("data=lco: give data.folder=DIR: LCO_CR_dataset, or any folder with files *_masks.fits")
        folder = Path(self.folder).expanduser() if self.folder is not None else self.archive() if self.archive else None
        if folder is None or not folder.is_dir():
            raise FileNotFoundError(f"no such folder: {str(folder)!r}")
        return folder

    def _stored(self, path: Path) -> Stored:
        """Return what a file holds, from disk where it has been read before."""
        facts, stem = path.stat(), path.name.split(ENDING)[0]
        key = digest(["LCO", path.name, facts.st_size, facts.st_mtime_ns, self.ignored, self.dilate])
        folder = Path(self.root).expanduser() / "sequences" / f"{stem}-{key}"
        note = folder / "sequence.json"  # written last
        if not note.is_file():
            self._store(read_sequence(path), folder, note, path.name)
        known = json.loads(note.read_text())
        folders = tuple(folder / name for name in known["folders"])
        return Stored(path, known["telescope"], known["provenance"], known["counts"], folders)

    def _store(self, sequence: MaskedSequence, folder: Path, note: Path, file: str) -> None:
        counts = dict.fromkeys(COUNTS, 0)
        names: list[str] = []
        for exposure, hits, ignore in zip(sequence.exposures, sequence.hits, sequence.ignore, strict=True):
            frame, ignored = exposure.frame, ignore > 0
            truth = self._truth(hits, ignored)
            names.append(f"{len(names)}-{file.split(ENDING)[0]}")
            if not (folder / names[-1]).is_dir():
                said = {"name": frame.name, "file": file, "ignored": self.ignored, "dilated": self.dilate}
                blank = ignored if self.ignored == "negative" else None
                save_labelled(frame, truth, said, folder / names[-1], blank)
            one = (1, truth.size, int((truth == CORE).sum()), int(ignored.sum()))
            counts = {key: counts[key] + number for key, number in zip(COUNTS, one, strict=True)}
        telescope = sequence.exposures[0].frame.telescope or OTHER
        said = {"telescope": telescope, "provenance": sequence.provenance, "counts": counts, "folders": names}
        write_json(note, said)

    def _truth(self, hits: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the truth (H, W), codes of :mod:`cosmicgate.truth`."""
        ring = dilate(hits) if self.dilate else hits
        beyond = SKY if self.ignored == "negative" else IGNORED
        return np.select([ignored, hits, ring], [beyond, CORE, RING], SKY).astype(np.uint8)


def masked_files(folder: Path, split: Literal["test", "train"]) -> list[Path]:
    """Return the files ``*_masks.fits`` below ``LCO_CR_dataset`` (of one part of it) or another folder, sorted.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    parts = [folder / f"{name}_set" for name in ("test", "train")]
    home = folder / f"{split}_set" if any(part.is_dir() for part in parts) else folder
    endings = tuple(f"{ENDING}{packed}" for packed in ("", ".fz", ".gz"))
    files = [p for p in home.rglob(f"*{ENDING}*") if p.name.endswith(endings) and not p.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"no file *{ENDING} below {str(home)!r}")
    return sorted(files)
