"""The DECam data: contaminated frames made once and kept, their patches for training, whole frames for the test."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from cosmicgate.config import ConfigError, build
from cosmicgate.data.contaminate import Contamination
from cosmicgate.data.patches import Grid, Patches, Windows, loader
from cosmicgate.data.real import FlaggedCutouts
from cosmicgate.data.sources import FrameSource, Provenance
from cosmicgate.data.splits import SPLITS, Split
from cosmicgate.data.store import Recipe, digest, save_labelled, stored_frame
from cosmicgate.data.transforms import Transform

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TestSet:
    """Labelled frames that are scored together and never mixed with others."""

    __test__ = False  # pytest, this is no test

    name: str
    provenance: Provenance
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Pair:
    """A science frame, the dark whose hits it gets, and the folder in which the result lies."""

    science: Recipe
    dark: Recipe
    seed: list[int]
    folder: Path


class DecamData(pl.LightningDataModule):
    """Science frames with the hits of darks added.

    Parameters
    ----------
    science, darks : FrameSource
        Where the frames come from (``conf/data/science``, ``conf/data/darks``).
    contamination : Contamination
        How a dark's hits get into a science frame (``conf/data/contamination``).
    root : str
        Folder of everything that is computed once; frames are made when they are missing.
    windows : Windows
        The training patches: a grid, as in the paper, or crops that seek the hits.
    transforms : sequence of Transform
        What training does to a patch.
    patch : int
        Side of the validation patches.
    pairs_per_frame : int
        How many darks each training frame is paired with, one at a time.
    also : sequence of FlaggedCutouts
        Further test sets.
    batch_size, workers : int
        Of the loaders; several processes share a batch. The number of workers changes nothing but speed.
    seed : int
        Of every draw of training.
    pairing_seed : int
        Of which dark goes with which science frame, and of the read noise: runs of several seeds are tested on the
        same frames.
    name : str
        Of the test set in tables.
    """

    def __init__(
        self,
        science: FrameSource,
        darks: FrameSource,
        contamination: Contamination,
        root: str,
        windows: Windows,
        transforms: Sequence[Transform] = (),
        patch: int = 256,
        pairs_per_frame: int = 1,
        also: Sequence[FlaggedCutouts] = (),
        batch_size: int = 16,
        workers: int = 1,
        seed: int = 0,
        pairing_seed: int = 0,
        name: str = "decam",
    ) -> None:
        super().__init__()
        self.science, self.darks, self.contamination = science, darks, contamination
        self.root = Path(root).expanduser()
        self.windows, self.transforms, self.patch = windows, list(transforms), patch
        self.pairs_per_frame, self.also = pairs_per_frame, list(also)
        self.pairing_seed = pairing_seed
        self.batch_size, self.workers, self.seed, self.test_name = batch_size, workers, seed, name

    @property
    def provenance(self) -> Provenance:
        """Simulated if any part of it is; real sky and real hits put together are semi-real."""
        parts = {self.science.provenance, self.darks.provenance}
        return "simulated" if "simulated" in parts else "semi-real"

    def pairs(self, which: Split) -> list[Pair]:
        """Pair each science frame of a split with darks of the same split."""
        science, darks = self.science.recipes(which), self.darks.recipes(which)
        if science and not darks:
            raise ValueError(f"{len(science)} science frame(s) but no dark in the {which!r} split")
        times = self.pairs_per_frame if which == "train" else 1
        rng = np.random.default_rng([self.pairing_seed, SPLITS.index(which)])
        wanted = len(science) * times
        order = [int(dark) for _ in range(0, wanted, max(1, len(darks))) for dark in rng.permutation(len(darks))]
        seeds = [[self.pairing_seed, SPLITS.index(which), number] for number in range(wanted)]
        return [self._pair(science[i % len(science)], darks[order[i]], seed) for i, seed in enumerate(seeds)]

    def _pair(self, science: Recipe, dark: Recipe, seed: list[int]) -> Pair:
        key = digest([science.ingredients, dark.ingredients, self.contamination, seed])
        return Pair(science, dark, seed, self.root / "contaminated" / f"{science.name}-{key}")

    def prepare_data(self) -> None:
        """Make what is missing on disk; stopped half-way, it goes on where it was."""
        self._prepare(SPLITS)

    def prepare_test(self) -> None:
        """Make what is missing of the test alone: an evaluation reads no other frame."""
        self._prepare(("test",))

    def _prepare(self, splits: Sequence[Split]) -> None:
        missing = [p for which in splits for p in self.pairs(which) if not p.folder.is_dir()]
        for pair in tqdm(missing, desc=f"{self.test_name}: frames", unit="frame", disable=not missing):
            self._contaminate(pair)
        for extra in self.also:
            for recipe, truth in extra.labelled():
                folder = self._extra_folder(extra, recipe)
                if not folder.is_dir():
                    save_labelled(recipe.make(), truth, {"name": recipe.name}, folder)

    def _contaminate(self, pair: Pair) -> None:
        frames = self.root / "frames"
        science, dark = stored_frame(pair.science, frames), stored_frame(pair.dark, frames)
        image, truth = self.contamination(science, dark, np.random.default_rng(pair.seed))
        facts = {
            "name": pair.science.name,
            "dark": pair.dark.name,
            "dark_exptime": dark.exptime,
            "contamination": type(self.contamination).__name__,
            "settings": _settings(self.contamination),
            "dilated": getattr(self.contamination, "ring", True),
        }
        save_labelled(image, truth, facts, pair.folder)

    def _extra_folder(self, extra: FlaggedCutouts, recipe: Recipe) -> Path:
        return self.root / extra.name / f"{recipe.name}-{recipe.key}"

    def setup(self, stage: str | None = None) -> None:
        """Open the frames of training and validation."""
        if stage not in (None, "fit", "validate"):
            return
        self.train = Patches(self.split("train"), self.windows, self.transforms, self.seed)
        self.validation = Patches(self.split("validation"), Grid(self.patch), (), self.seed)

    def split(self, which: Split) -> list[Path]:
        """Return the labelled frames of a split."""
        folders = [pair.folder for pair in self.pairs(which)]
        if not folders:
            raise ValueError(f"no frame in the {which!r} split: give it at least one science frame and one dark")
        return folders

    def folders(self) -> list[Path]:
        """Return every labelled frame of all splits."""
        return [pair.folder for which in SPLITS for pair in self.pairs(which)]

    def test_sets(self) -> list[TestSet]:
        """Return what is scored after training, each set by its name."""
        sets = [TestSet(self.test_name, self.provenance, tuple(self.split("test")))]
        for extra in self.also:
            folders = tuple(self._extra_folder(extra, recipe) for recipe, _ in extra.labelled())
            sets.append(TestSet(extra.name, extra.provenance, folders))
        return sets

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training patches in an order that depends on (seed, epoch) alone."""
        return loader(self.train, self.batch_size, self.workers, self.trainer, self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation patches in their order."""
        return loader(self.validation, self.batch_size, self.workers, self.trainer)


def training_data(node: Any) -> pl.LightningDataModule:
    """Build a data set to train on; one that is for tests alone is refused by its name."""
    data = build(node)
    if not isinstance(data, pl.LightningDataModule):
        raise ConfigError(f"data: {node['name']} is a test set, nothing trains on it; train on data=decam, say")
    return data


def _settings(contamination: Any) -> Any:
    try:
        return asdict(contamination)
    except TypeError:
        return repr(contamination)
