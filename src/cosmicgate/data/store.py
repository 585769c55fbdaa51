"""What is computed once and kept on disk: frames and labelled frames, under the hash of what they are made from."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame, read_frame, write_frame
from cosmicgate.truth import IGNORED

FORMAT = 4  # raise it when the simulation or a recipe changes what it makes: old files are then left alone
FACTS = ("band", "telescope", "gain", "read_noise", "saturation", "exptime")  # of a frame, that stay with its image


@dataclass(frozen=True)
class Recipe:
    """A frame that can be made: its name, what determines every pixel of it, and the function that makes it."""

    name: str
    ingredients: Any
    make: Callable[[], Frame]

    @property
    def key(self) -> str:
        """Hash of the ingredients: equal keys, equal pixels."""
        return digest(self.ingredients)


@dataclass(frozen=True, eq=False)
class Labelled:
    """An image with its truth, memory-mapped from its folder on disk.

    Attributes
    ----------
    image : ndarray (H, W), float32
        ADU.
    truth : ndarray (H, W), uint8
        Codes of :mod:`cosmicgate.truth`.
    bad : ndarray (H, W), bool
        What a detector may know of bad pixels.
    facts : dict
        Name, band, gain, read_noise, saturation, exptime, the names of what it was made from, and whether the truth
        is ``dilated`` (has a ring around each core).
    blank : ndarray (H, W), bool, or None
        Where a detector's answer is set to "no hit" before it is counted: a data set's own convention of scoring.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.uint8]
    bad: NDArray[np.bool_]
    facts: dict[str, Any]
    blank: NDArray[np.bool_] | None = None


def digest(ingredients: Any) -> str:
    """Return 16 hexadecimal digits that stand for plain values, dataclasses, lists and dicts of them."""
    text = json.dumps([FORMAT, ingredients], default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, asdict(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be part of a cache key")


def stored_frame(recipe: Recipe, folder: Path) -> Frame:
    """Return the recipe's frame, from disk where it has been made before."""
    path = folder / f"{recipe.name}-{recipe.key}.fits"
    if not path.exists():
        write_frame(recipe.make(), path)
    try:
        return read_frame(path)
    except ValueError as error:
        raise ValueError(f"{error}: delete it and run again") from error


def save_labelled(
    frame: Frame,
    truth: NDArray[np.uint8],
    facts: dict[str, Any],
    folder: Path,
    blank: NDArray[np.bool_] | None = None,
) -> None:
    """Write an image, its truth and its facts into ``folder``, which appears whole or not at all.

    What is bad in the frame is ignored in the truth. For ``blank`` see :class:`Labelled`.
    """
    if truth.shape != frame.shape:
        raise ValueError(f"{frame.name}: the truth is {truth.shape}, the image {frame.shape}")
    partial = folder.with_name(f".partial-{uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        known = {k: getattr(frame, k) for k in FACTS}
        np.save(partial / "image.npy", frame.image)
        np.save(partial / "bad.npy", frame.bad)
        np.save(partial / "truth.npy", np.where(frame.bad, np.uint8(IGNORED), truth))
        if blank is not None:
            np.save(partial / "blank.npy", blank)
        (partial / "facts.json").write_text(json.dumps(known | facts, indent=1))
        partial.replace(folder)
    except OSError:
        if not folder.is_dir():  # else another process made the same folder meanwhile
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_labelled(folder: Path) -> Labelled:
    """Open a labelled frame; its arrays stay on disk until they are read."""
    try:
        image, truth, bad = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "truth", "bad"))
        if not image.shape == truth.shape == bad.shape:
            raise ValueError(f"the truth is {truth.shape}, the bad pixels are {bad.shape}, the image {image.shape}")
        blank = np.load(folder / "blank.npy", mmap_mode="r") if (folder / "blank.npy").is_file() else None
        if blank is not None and blank.shape != image.shape:
            raise ValueError(f"the blank pixels are {blank.shape}, the image {image.shape}")
        return Labelled(image, truth, bad, json.loads((folder / "facts.json").read_text()), blank)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{folder} is not a whole labelled frame ({error}): delete it and run again") from error
