"""Cut labelled frames into training and validation patches: a regular grid, or random crops on hits."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cosmicgate.config import ConfigError
from cosmicgate.data.bad_pixels import interpolate_bad_pixels
from cosmicgate.data.cache import LabelledFrame, load_labelled
from cosmicgate.data.pixel_labels import CORE
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.transforms import Transform
from cosmicgate.extras import extra

with extra("train"):
    import pytorch_lightning as pl

log = logging.getLogger(__name__)
Window = tuple[int, slice, slice]  # index of the frame, rows, columns


class PatchSampler(Protocol):
    """Rule that maps a patch index to a window of a frame."""

    def prepare(self, frames: Sequence[LabelledFrame]) -> "PatchSampler":
        """Copy the sampler and prepare it to sample these frames."""

    def __len__(self) -> int:
        """Count the patches of an epoch."""

    def window(self, index: int, rng: np.random.Generator) -> Window:
        """Choose the window of patch ``index``."""


@dataclass(frozen=True)
class GridSampler:
    """Grid of ``size`` x ``size`` patches on every frame, as in the paper; remainders at two edges are not used."""

    size: int = 256
    places: tuple[tuple[int, int, int], ...] = ()

    def prepare(self, frames: Sequence[LabelledFrame]) -> "GridSampler":
        """List the patches of all frames, row by row.

        Raises
        ------
        ValueError
            If every frame is smaller than a patch.
        """
        places = tuple(
            (number, row, column)
            for number, frame in enumerate(frames)
            for row in range(0, frame.image.shape[0] - self.size + 1, self.size)
            for column in range(0, frame.image.shape[1] - self.size + 1, self.size)
        )
        if not places:
            raise ValueError(f"no patch of {self.size} px fits into frames of {_shapes(frames)}")
        if small := len(frames) - len({number for number, _, _ in places}):
            log.warning("%d of %d frames are smaller than a patch of %d px: not used", small, len(frames), self.size)
        return GridSampler(self.size, places)

    def __len__(self) -> int:
        return len(self.places)

    def window(self, index: int, rng: np.random.Generator) -> Window:  # noqa: ARG002 (a grid draws nothing)
        """Compute the window of patch ``index`` in the grid."""
        number, row, column = self.places[index]
        return number, slice(row, row + self.size), slice(column, column + self.size)


@dataclass(frozen=True, eq=False)
class CropSampler:
    """``count`` random crops per epoch, of which at least a fraction ``on_hits`` contains a hit, if its frame has one.

    For training only, because hits are over-represented. Frames are drawn with equal probability.
    """

    size: int = 128
    count: int = 1024
    on_hits: float = 0.5
    frames: tuple[tuple[tuple[int, ...], Any], ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1 or self.count < 1:
            raise ValueError(
                f"size={self.size}, count={self.count}: expected crops of 1 px or more, and 1 crop or more"
            )
        if not 0 <= self.on_hits <= 1:
            raise ValueError(f"on_hits={self.on_hits}: expected a fraction, from 0 to 1")

    def prepare(self, frames: Sequence[LabelledFrame]) -> "CropSampler":
        """List each frame's core pixels.

        Raises
        ------
        ValueError
            If a frame is smaller than a crop.
        """
        if any(min(frame.image.shape) < self.size for frame in frames):
            raise ValueError(f"no crop of {self.size} px fits into frames of {_shapes(frames)}")
        known = tuple((frame.truth.shape, np.flatnonzero(np.asarray(frame.truth) == CORE)) for frame in frames)
        return CropSampler(self.size, self.count, self.on_hits, known)

    def __len__(self) -> int:
        return self.count

    def window(self, index: int, rng: np.random.Generator) -> Window:  # noqa: ARG002 (each crop is drawn alike)
        """Draw a frame and a position in it."""
        number = int(rng.integers(len(self.frames)))
        shape, hits = self.frames[number]
        low, high = [0, 0], [side - self.size for side in shape]
        if hits.size and rng.random() < self.on_hits:
            pixel = np.unravel_index(hits[rng.integers(hits.size)], shape)
            low = [max(0, int(p) - self.size + 1) for p in pixel]
            high = [min(h, int(p)) for h, p in zip(high, pixel, strict=True)]
        row, column = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
        return number, slice(row, row + self.size), slice(column, column + self.size)


def _shapes(frames: Sequence[LabelledFrame]) -> str:
    return ", ".join(sorted({str(frame.image.shape) for frame in frames})) or "no frames"


class PatchDataset(Dataset[dict[str, Tensor]]):
    """Patches as tensors: image (1, H, W) float32 in ADU, its bad pixels interpolated, and truth (1, H, W) uint8.

    Parameters
    ----------
    folders : sequence of Path
        Folders of labelled frames (:mod:`cosmicgate.data.cache`).
    windows : PatchSampler
        Rule that selects the patches.
    transforms : sequence of Transform
        Augmentations, applied in order.
    seed : int
        Seed of the random draws. A patch depends on (seed, epoch, index) alone, never on the worker that makes it.
    """

    def __init__(
        self, folders: Sequence[Path], windows: PatchSampler, transforms: Sequence[Transform] = (), seed: int = 0
    ) -> None:
        self.folders = list(folders)
        self.frames = [load_labelled(folder) for folder in folders]
        self.windows = windows.prepare(self.frames)
        self.transforms = list(transforms)
        self.seed = seed

    def __getstate__(self) -> dict[str, Any]:
        """Leave the frames out: a spawned worker reopens the files, instead of being sent every pixel."""
        return {key: value for key, value in self.__dict__.items() if key != "frames"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.frames = [load_labelled(folder) for folder in self.folders]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """Make the patch of ``index``, or of ``(epoch, index)``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"patch {index} of {len(self)}")
        rng = random_stream("patch", self.seed, epoch, index)
        number, rows, columns = self.windows.window(index, rng)
        frame = self.frames[number]
        image, truth = np.array(frame.image[rows, columns]), np.array(frame.truth[rows, columns])
        if (bad := np.asarray(frame.bad[rows, columns])).all():
            image[:] = np.median(frame.image[~np.asarray(frame.bad)])
        elif bad.any():  # as for every network that is tested or used
            image, _ = interpolate_bad_pixels(image, bad)
        for transform in self.transforms:
            image, truth = transform(image, truth, rng)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image))[None],
            "truth": torch.from_numpy(np.ascontiguousarray(truth))[None],
        }


class EpochSampler(Sampler[tuple[int, int]]):
    """Random order of all patches that depends on (seed, epoch) alone; yields ``(epoch, index)``.

    Neither resuming a run nor changing the number of workers alters what is trained on. Workers read the order as soon
    as the loader is iterated over, which Lightning does before it calls ``set_epoch``: a resumed run must therefore
    set the epoch earlier, through :meth:`resume` (see :func:`make_loader`).

    Parameters
    ----------
    length : int
        Patches in an epoch.
    seed : int
        Seed of the order.
    rank, world : int
        Rank of the process and number of processes. Each process gets every ``world``-th patch of the order, so that
        a step of all processes together has the same patches as in one process, and no patch is skipped or repeated.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length = length
        self.seed = seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.resumed_epoch, self.trained = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Select the order of ``epoch``."""
        self.epoch = epoch

    def resume(self, epoch: int, trained: int = 0) -> None:
        """Start at ``epoch`` and skip its first ``trained`` patches, which this process has already trained on."""
        self.epoch = self.resumed_epoch = epoch
        self.trained = trained

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = random_stream("order of an epoch", self.seed, epoch).permutation(self.length)[self.rank :: self.world]
        return ((epoch, int(index)) for index in order[self.trained if epoch == self.resumed_epoch else 0 :])


class DistributedSequentialSampler(Sampler[int]):
    """Every ``world``-th patch, starting at ``rank``: all processes together see each patch exactly once.

    Unlike torch's DistributedSampler, it adds no patches to give all processes the same number, which would count a
    patch twice.
    """

    def __init__(self, length: int, rank: int, world: int) -> None:
        self.indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def check_loading(batch_size: int, num_workers: int) -> None:
    """Raise ValueError unless there are patches in a batch and the number of loader workers is not negative."""
    if batch_size < 1 or num_workers < 0:
        found = f"batch_size={batch_size}, num_workers={num_workers}"
        raise ValueError(f"{found}: expected 1 patch or more in a batch, and 0 workers or more")


def make_loader(
    patches: Dataset[dict[str, Tensor]],
    batch_size: int,
    num_workers: int,
    trainer: pl.Trainer | None,
    seed: int | None = None,
) -> DataLoader[dict[str, Tensor]]:
    """Make the data loader of this process.

    Parameters
    ----------
    patches : Dataset
        All patches, of all processes.
    batch_size : int
        Patches in a step, over all processes together.
    num_workers : int
        Number of loader workers of each training process.
    trainer : Trainer, optional
        Source of the rank, the number of processes, the accelerator and, in a resumed run, the progress so far.
    seed : int, optional
        Seed of the shuffling, which differs in each epoch. None keeps the order of ``patches``.

    Returns
    -------
    DataLoader
        Batches of ``batch_size // world`` patches.

    Raises
    ------
    ConfigError
        If the batch size is no multiple of the number of processes, or the last step has fewer patches than processes.
    """
    check_loading(batch_size, num_workers)
    length = len(patches)  # type: ignore[arg-type] # torch does not say that these have one
    rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
    if batch_size % world:
        raise ConfigError(f"data.batch_size={batch_size}: {world} processes share a batch, expected a multiple of that")
    left = length % batch_size if seed is not None else length
    if 0 < left < world:
        raise ConfigError(f"data: the last step of {length} patches has {left}, too few for {world} processes")
    accelerated = trainer is not None and trainer.accelerator.__class__.__name__ != "CPUAccelerator"
    sampler: DistributedSequentialSampler | EpochSampler = DistributedSequentialSampler(length, rank, world)
    if seed is not None:
        sampler = EpochSampler(length, seed, rank, world)
        epoch, steps = training_progress(trainer)
        sampler.resume(epoch, steps * (batch_size // world))
    return DataLoader(
        patches,
        batch_size=batch_size // world,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=accelerated,
        generator=torch.Generator(),  # each iteration draws a seed: keep that off the global stream, which dropout uses
    )


class PatchDataModule(pl.LightningDataModule):
    """Data module whose ``setup`` opens the training and the validation patches."""

    train: PatchDataset
    validation: Dataset[dict[str, Tensor]]
    batch_size: int
    num_workers: int
    seed: int

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Load the training patches in an order that depends on (seed, epoch) alone."""
        return make_loader(self.train, self.batch_size, self.num_workers, self.trainer, self.seed)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Load the validation patches in a fixed order."""
        return make_loader(self.validation, self.batch_size, self.num_workers, self.trainer)


def training_progress(trainer: pl.Trainer | None) -> tuple[int, int]:
    """Find the epoch that is trained next, and how many of its steps are done (if a checkpoint lies within it)."""
    loop: Any = getattr(trainer, "fit_loop", None)
    if loop is None:
        return 0, 0
    epoch = loop.epoch_progress.current
    within = epoch.started > epoch.processed
    return epoch.processed, loop.epoch_loop.batch_progress.current.processed if within else 0
