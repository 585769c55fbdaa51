"""Several data sets to train on at once: each patch is drawn from one of them, by chances that are told."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from cosmicgate.data.decam import Batch, DecamData, TestSet
from cosmicgate.data.patches import Patches, loader
from cosmicgate.data.splits import Split

log = logging.getLogger(__name__)


class Mixture(pl.LightningDataModule):
    """Data sets that are trained on together, validated together and tested apart.

    Parameters
    ----------
    parts : mapping of str to DecamData
        The data sets, each with windows and transforms of its own.
    shares : mapping of str to float
        How often a patch is of each; they add up to 1.
    count : int
        Patches in an epoch.
    batch_size, workers : int
        Of the loaders.
    seed : int
        Of every draw of training.
    name : str
        Of all of it.
    """

    def __init__(
        self,
        parts: Mapping[str, DecamData],
        shares: Mapping[str, float],
        count: int,
        batch_size: int = 16,
        workers: int = 1,
        seed: int = 0,
        name: str = "mixture",
    ) -> None:
        super().__init__()
        if set(parts) != set(shares) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"expected a share of each of {sorted(parts)}, 1 in all, got {dict(shares)}")
        total = sum(shares.values())  # which numpy wants to be 1 to more digits than anybody writes
        self.parts, self.shares, self.count = dict(parts), [shares[name] / total for name in parts], count
        self.name = name
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

    @property
    def provenance(self) -> str:
        """Every provenance among the parts."""
        return " and ".join(sorted({part.provenance for part in self.parts.values()}, reverse=True))

    def prepare_data(self) -> None:
        """Make what is missing on disk."""
        for part in self.parts.values():
            part.prepare_data()

    def prepare_test(self) -> None:
        """Make what is missing of the tests alone."""
        for part in self.parts.values():
            part.prepare_test()

    def setup(self, stage: str | None = None) -> None:
        """Open the frames of training and validation."""
        if stage not in (None, "fit", "validate"):
            return
        for part in self.parts.values():
            part.setup(stage)
        for (name, part), share in zip(self.parts.items(), self.shares, strict=True):
            if (asked := share * self.count) > len(part.train):
                log.warning(
                    "data.parts.%s: an epoch takes about %.0f patches of its %d: some come twice; windows.count says "
                    "how many crops it draws",
                    *(name, asked, len(part.train)),
                )
        self.train = Mixed([part.train for part in self.parts.values()], self.shares, self.count, self.seed)
        self.validation: ConcatDataset[dict[str, Tensor]] = ConcatDataset(
            [part.validation for part in self.parts.values()]
        )

    def split(self, which: Split) -> list[Path]:
        """Return the labelled frames of a split, all parts'."""
        return [folder for part in self.parts.values() for folder in part.split(which)]

    def folders(self) -> list[Path]:
        """Return every labelled frame of all parts and splits."""
        return [folder for part in self.parts.values() for folder in part.folders()]

    def test_sets(self) -> list[TestSet]:
        """Return what is scored after training, each set by its name."""
        return [test_set for part in self.parts.values() for test_set in part.test_sets()]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training patches in an order that depends on (seed, epoch) alone."""
        return loader(self.train, self.batch_size, self.workers, self.trainer, self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation patches of all parts, one part after the other."""
        return loader(self.validation, self.batch_size, self.workers, self.trainer)


class Mixed(Dataset[dict[str, Tensor]]):
    """``count`` patches an epoch, each of a part that is drawn by its share.

    Patch ``(epoch, index)`` depends on these and the seed alone. A part repeats a patch within an epoch only if it is
    asked for more than it has.
    """

    def __init__(self, parts: Sequence[Patches], shares: Sequence[float], count: int, seed: int) -> None:
        self.parts, self.shares, self.count, self.seed = list(parts), list(shares), count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """Return the patch of ``index``, or of ``(epoch, index)``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < self.count:
            raise IndexError(f"patch {index} of {self.count}")
        rng = np.random.default_rng([self.seed, epoch, 1])  # the epoch's, so that its patches know of each other
        drawn = rng.choice(len(self.parts), self.count, p=self.shares)
        part = self.parts[int(drawn[index])]
        before = int(np.count_nonzero(drawn[:index] == drawn[index]))
        return part[epoch, int(rng.permutation(len(part))[before % len(part)])]
