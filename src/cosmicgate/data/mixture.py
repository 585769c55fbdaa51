"""Training on several data sets at once: each patch is drawn from one of them with a given probability."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from cosmicgate.data.datamodule import DecamData, TestSet, check_unique_names
from cosmicgate.data.labelled_exposures import LabelledExposures
from cosmicgate.data.patches import PatchDataModule, PatchDataset
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.splits import Split

log = logging.getLogger(__name__)


class Mixture(PatchDataModule):
    """Data sets that are trained on together, validated together and tested separately.

    Parameters
    ----------
    parts : mapping of str to DecamData or LabelledExposures
        The data sets, each with its own windows and transforms.
    shares : mapping of str to float
        Probability that a patch is of each data set; they add up to 1.
    count : int
        Patches in an epoch.
    batch_size : int
        Patches in a step, over all processes together.
    num_workers : int
        Number of loader workers of each process.
    seed : int
        Seed of all random draws during training.
    name : str
        Name of the mixture.
    leave_out : sequence of str
        Data sets that are not used; the shares of the others grow in proportion. Without the frames of a camera, a
        network can be scored on that camera.
    """

    train: "MixtureDataset"  # type: ignore[assignment]  # of patches of several data sets

    def __init__(
        self,
        parts: Mapping[str, DecamData | LabelledExposures],
        shares: Mapping[str, float],
        count: int,
        batch_size: int = 16,
        num_workers: int = 1,
        seed: int = 0,
        name: str = "mixture",
        leave_out: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if set(parts) != set(shares) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"expected a share of each of {sorted(parts)}, 1 in all, got {dict(shares)}")
        if unknown := sorted(set(leave_out) - set(parts)):
            raise ValueError(f"data.leave_out: no part is called {unknown[0]!r}: expected some of {', '.join(parts)}")
        self.parts = {name: part for name, part in parts.items() if name not in leave_out}
        if not self.parts:
            raise ValueError("data.leave_out names every part: nothing is left to train on")
        total = sum(shares[name] for name in self.parts)  # numpy's choice() needs a sum of 1 to many digits
        self.shares, self.count = [shares[name] / total for name in self.parts], count
        self.name = name
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    @property
    def data_origin(self) -> str:
        """Data origins of the parts, joined by "and", and the cameras of labelled real frames.

        For example "simulated and real: lco0m4 (kb97)".
        """
        origins = " and ".join(sorted({part.data_origin for part in self.parts.values()}, reverse=True))
        cameras = []
        for name, part in self.parts.items():
            if isinstance(part, LabelledExposures):
                with _naming_part(name):
                    cameras += [f"{name} ({camera})" for camera in part.cameras]
        return f"{origins}: {', '.join(cameras)}" if cameras else origins

    def prepare_data(self) -> None:
        """Make the frames that are missing on disk."""
        for name, part in self.parts.items():
            with _naming_part(name):
                part.prepare_data()

    def prepare_test(self) -> None:
        """Make the missing test frames alone."""
        for name, part in self.parts.items():
            with _naming_part(name):
                part.prepare_test()

    def setup(self, stage: str | None = None) -> None:
        """Open the training and validation frames."""
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
        self.train = MixtureDataset([part.train for part in self.parts.values()], self.shares, self.count, self.seed)
        self.validation: ConcatDataset[dict[str, Tensor]] = ConcatDataset(
            [part.validation for part in self.parts.values()]
        )

    def split(self, which: Split) -> list[Path]:
        """List the folders of a split's labelled frames, of all parts."""
        return [folder for part in self.parts.values() for folder in part.split(which)]

    def folders(self) -> list[Path]:
        """List the folders of the labelled frames of all parts and splits."""
        return [folder for part in self.parts.values() for folder in part.folders()]

    def test_sets(self) -> list[TestSet]:
        """List the test sets of all parts, which are scored after training."""
        return check_unique_names([test_set for part in self.parts.values() for test_set in part.test_sets()])


@contextmanager
def _naming_part(name: str) -> Iterator[None]:
    """Add to the message of a missing file how the part that needs it is left out."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; or leave this part out: data.leave_out=[{name}]") from error


class MixtureDataset(Dataset[dict[str, Tensor]]):
    """``count`` patches per epoch, each of a data set that is drawn with the probability ``shares``.

    Patch ``(epoch, index)`` depends on these two and the seed alone. A patch is repeated within an epoch only if more
    patches are drawn of a data set than it has.
    """

    def __init__(self, parts: Sequence[PatchDataset], shares: Sequence[float], count: int, seed: int) -> None:
        self.parts, self.shares, self.count, self.seed = list(parts), list(shares), count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """Make the patch of ``index``, or of ``(epoch, index)``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < self.count:
            raise IndexError(f"patch {index} of {self.count}")
        rng = random_stream("parts of a mixture", self.seed, epoch)  # one for all patches of an epoch
        drawn = rng.choice(len(self.parts), self.count, p=self.shares)
        part = self.parts[int(drawn[index])]
        before = int(np.count_nonzero(drawn[:index] == drawn[index]))
        return part[epoch, int(rng.permutation(len(part))[before % len(part)])]
