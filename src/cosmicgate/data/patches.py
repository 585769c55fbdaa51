"""From labelled frames to the patches that a network sees: a grid of them, or crops that seek the hits."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cosmicgate.config import ConfigError
from cosmicgate.data.store import Labelled, load_labelled
from cosmicgate.data.transforms import Transform
from cosmicgate.truth import CORE

log = logging.getLogger(__name__)
Window = tuple[int, slice, slice]  # number of the frame, rows, columns


class Windows(Protocol):
    """Which part of which frame patch ``index`` is."""

    def prepare(self, frames: Sequence[Labelled]) -> "Windows":
        """Return the same choice, made for these frames."""

    def __len__(self) -> int:
        """Patches in an epoch."""

    def window(self, index: int, rng: np.random.Generator) -> Window:
        """Return the window of patch ``index``."""


@dataclass(frozen=True)
class Grid:
    """Every frame cut into ``size`` x ``size`` patches, as in the paper; what is left at two edges is not used."""

    size: int = 256
    places: tuple[tuple[int, int, int], ...] = ()

    def prepare(self, frames: Sequence[Labelled]) -> "Grid":
        """List the patches of all frames, row by row."""
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
        return Grid(self.size, places)

    def __len__(self) -> int:
        return len(self.places)

    def window(self, index: int, rng: np.random.Generator) -> Window:  # noqa: ARG002 (a grid draws nothing)
        """Return patch ``index`` of the grid."""
        number, row, column = self.places[index]
        return number, slice(row, row + self.size), slice(column, column + self.size)


@dataclass(frozen=True, eq=False)
class Crops:
    """``count`` random crops an epoch, of which a fraction ``on_hits`` holds a hit for sure.

    For training only: it shows hits more often than the sky has them. Frames are drawn with equal chance.
    """

    size: int = 128
    count: int = 1024
    on_hits: float = 0.5
    frames: tuple[tuple[tuple[int, ...], Any], ...] = ()

    def prepare(self, frames: Sequence[Labelled]) -> "Crops":
        """Note where each frame's hits are."""
        if any(min(frame.image.shape) < self.size for frame in frames):
            raise ValueError(f"no crop of {self.size} px fits into frames of {_shapes(frames)}")
        known = tuple((frame.truth.shape, np.flatnonzero(np.asarray(frame.truth) == CORE)) for frame in frames)
        return Crops(self.size, self.count, self.on_hits, known)

    def __len__(self) -> int:
        return self.count

    def window(self, index: int, rng: np.random.Generator) -> Window:  # noqa: ARG002 (each crop is drawn alike)
        """Draw a frame and a place in it."""
        number = int(rng.integers(len(self.frames)))
        shape, hits = self.frames[number]
        low, high = [0, 0], [side - self.size for side in shape]
        if hits.size and rng.random() < self.on_hits:
            pixel = np.unravel_index(hits[rng.integers(hits.size)], shape)
            low = [max(0, int(p) - self.size + 1) for p in pixel]
            high = [min(h, int(p)) for h, p in zip(high, pixel, strict=True)]
        row, column = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
        return number, slice(row, row + self.size), slice(column, column + self.size)


def _shapes(frames: Sequence[Labelled]) -> str:
    return ", ".join(sorted({str(frame.image.shape) for frame in frames})) or "no frames"


class Patches(Dataset[dict[str, Tensor]]):
    """Patches as tensors: image (1, H, W) float32 in ADU, truth (1, H, W) uint8.

    Parameters
    ----------
    folders : sequence of Path
        Labelled frames (:mod:`cosmicgate.data.store`).
    windows : Windows
        Which patches.
    transforms : sequence of Transform
        Applied in order.
    seed : int
        A patch depends on (seed, epoch, index) alone, never on the worker that makes it.
    """

    def __init__(
        self, folders: Sequence[Path], windows: Windows, transforms: Sequence[Transform] = (), seed: int = 0
    ) -> None:
        self.folders = list(folders)
        self.frames = [load_labelled(folder) for folder in folders]
        self.windows = windows.prepare(self.frames)
        self.transforms = list(transforms)
        self.seed = seed

    def __getstate__(self) -> dict[str, Any]:
        """Leave the frames out: a worker that is spawned opens them again, else it would be sent every pixel."""
        return {key: value for key, value in self.__dict__.items() if key != "frames"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.frames = [load_labelled(folder) for folder in self.folders]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """Return the patch of ``index``, or of ``(epoch, index)``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"patch {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, epoch, index])
        number, rows, columns = self.windows.window(index, rng)
        frame = self.frames[number]
        image, truth = np.array(frame.image[rows, columns]), np.array(frame.truth[rows, columns])
        for transform in self.transforms:
            image, truth = transform(image, truth, rng)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image))[None],
            "truth": torch.from_numpy(np.ascontiguousarray(truth))[None],
        }


class EpochSampler(Sampler[tuple[int, int]]):
    """All patches in an order that depends on (seed, epoch) alone; it hands out ``(epoch, index)``.

    So neither a resumed run nor another number of workers changes what is trained on. Lightning calls
    ``set_epoch``.

    Parameters
    ----------
    length : int
        Patches in an epoch.
    seed : int
        Of the order.
    rank, world : int
        Process ``rank`` of ``world`` gets every ``world``-th patch of the order. A step of all processes together then
        has the patches that it has in one process, and no patch is left out or seen twice.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length = length
        self.seed = seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return ((self.epoch, int(index)) for index in order[self.rank :: self.world])


class Share(Sampler[int]):
    """Every ``world``-th patch from ``rank`` on: processes together see each once, and none is added to make them even.

    That is what torch's DistributedSampler does, which would count a patch twice.
    """

    def __init__(self, length: int, rank: int, world: int) -> None:
        self.indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def loader(
    patches: Dataset[dict[str, Tensor]],
    batch_size: int,
    workers: int,
    trainer: pl.Trainer | None,
    seed: int | None = None,
) -> DataLoader[dict[str, Tensor]]:
    """Return this process's share of the batches.

    Parameters
    ----------
    patches : Dataset
        All of them.
    batch_size : int
        Patches of a step, those of all processes together.
    workers : int
        Processes that make patches, for each process that trains.
    trainer : Trainer, optional
        Knows how many processes there are, and on what.
    seed : int, optional
        Of the order, a new one in each epoch; None: their own order.

    Raises
    ------
    ConfigError
        The patches of a step, or of an epoch's last step, cannot be dealt to so many processes.
    """
    length = len(patches)  # type: ignore[arg-type] # torch does not say that these have one
    rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
    if batch_size % world:
        raise ConfigError(f"data.batch_size={batch_size}: {world} processes share a batch, expected a multiple of that")
    left = length % batch_size if seed is not None else length
    if 0 < left < world:
        raise ConfigError(f"data: the last step of {length} patches has {left}, too few for {world} processes")
    accelerated = trainer is not None and trainer.accelerator.__class__.__name__ != "CPUAccelerator"
    sampler = Share(length, rank, world) if seed is None else EpochSampler(length, seed, rank, world)
    return DataLoader(
        patches,
        batch_size=batch_size // world,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=accelerated,
    )
