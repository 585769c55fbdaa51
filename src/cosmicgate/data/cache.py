"""Cache frames and labelled frames on disk, each under a hash of everything that determines its pixels."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.pixel_labels import IGNORED
from cosmicgate.io.atomic import file_named_in_errors, temporary_owner
from cosmicgate.io.fits.frames import Frame, read_frame, write_frame

FORMAT = 6  # raise when the simulation or a contamination recipe changes its output: old files are then no longer used
FACTS = ("band", "telescope", "gain", "read_noise", "saturation", "exptime")  # frame fields stored with the image

CACHE_KEY = re.compile(r"-[0-9a-f]{16}$")  # at the end of a folder's name, a :func:`digest`: equal keys, equal pixels


@dataclass(frozen=True)
class LazyFrame:
    """Frame that is built when it is needed: its name, the values that determine every pixel, and the function.

    Frames of one ``field`` share their sky (dithers, CCDs of an exposure); if it is empty, the frame has its own.
    """

    name: str
    cache_key_parts: Any
    build: Callable[[], Frame]
    field: str = ""

    @property
    def key(self) -> str:
        """Hash of the values: equal keys, equal pixels."""
        return digest(self.cache_key_parts)


@dataclass(frozen=True)
class LazyLabelledFrame:
    """Labelled frame that is built when it is needed: its name, the values that determine it, and the function.

    The function returns the frame, its truth (H, W) and its facts.
    """

    name: str
    cache_key_parts: Any
    build: Callable[[], tuple[Frame, NDArray[np.uint8], dict[str, Any]]]

    @property
    def key(self) -> str:
        """Hash of the values: equal keys, equal frames."""
        return digest(self.cache_key_parts)


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """An image with its truth, memory-mapped from its folder on disk.

    Attributes
    ----------
    image : ndarray (H, W), float32
        The image, ADU.
    truth : ndarray (H, W), uint8
        Pixel labels, codes of :mod:`cosmicgate.data.pixel_labels`.
    bad : ndarray (H, W), bool
        Bad pixels, as far as a detector may know them.
    facts : dict
        Name, band, gain, read_noise, saturation, exptime, the names of the source frames, and whether the truth is
        ``dilated`` (has a ring around each core). Frames with the same ``field`` share their sky: the bootstrap for
        confidence intervals resamples them together, unless their test set has the fields.
    blank : ndarray (H, W), bool, or None
        Pixels in which a detector's result is set to "no hit" before scoring; a convention of some data sets.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.uint8]
    bad: NDArray[np.bool_]
    facts: dict[str, Any]
    blank: NDArray[np.bool_] | None = None


def digest(values: Any) -> str:
    """Hash plain values, dataclasses, and lists and dicts of them into 16 hexadecimal digits."""
    text = json.dumps([FORMAT, values], default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        return [vars(kind).get("cache_name", kind.__name__), asdict(value), *classes_of_others(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be part of a cache key")


def classes_of_others(value: Any) -> list[str]:
    """List the full names of the class of a dataclass and of those in it; empty if all are of this package.

    :func:`~dataclasses.asdict` drops them, and a user's class may have the name and fields of another.
    """
    kinds = list(_classes(value))
    own = all(kind.__module__.partition(".")[0] == __name__.partition(".")[0] for kind in kinds)
    return [] if own else [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]


def _classes(value: Any) -> Iterator[type]:
    """Yield the classes of the dataclasses in a value, which may be a list or dict of them."""
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        value = [getattr(value, each.name) for each in fields(value)]
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(parts, Iterable) and not isinstance(parts, str | np.ndarray):
        for part in parts:
            yield from _classes(part)


def cached_frame(lazy: LazyFrame, folder: Path) -> Frame:
    """Read a frame from ``folder``; build and save it first if it is not there.

    Raises
    ------
    ValueError
        If the cached file is damaged.
    """
    path = folder / f"{lazy.name}-{lazy.key}.fits"
    if not path.exists():
        write_frame(lazy.build(), path)
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
    """Write an image, its truth and its facts into ``folder``, atomically.

    Bad pixels of the frame are labelled ignored in the truth. For ``blank`` see :class:`LabelledFrame`. The fact
    ``sky_sha256`` identifies the frame before hits were added; it is that of the image unless ``facts`` has it.

    Raises
    ------
    ValueError
        If the truth and the image differ in shape.
    """
    if truth.shape != frame.shape:
        raise ValueError(f"{frame.name}: the truth is {truth.shape}, the image {frame.shape}")
    partial = folder.with_name(f".partial-{temporary_owner()}")
    partial.mkdir(parents=True)
    try:
        frame_facts = {k: getattr(frame, k) for k in FACTS} | {"sky_sha256": pixels_sha256(frame.image)}
        arrays = {"image": frame.image, "bad": frame.bad, "truth": np.where(frame.bad, np.uint8(IGNORED), truth)}
        with file_named_in_errors(folder):
            for name, array in (arrays if blank is None else arrays | {"blank": blank}).items():
                np.save(partial / f"{name}.npy", array)
            (partial / "facts.json").write_text(json.dumps(frame_facts | facts, indent=1))
            partial.replace(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has made the same folder in the meantime
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def pixels_sha256(image: NDArray[np.float32]) -> str:
    """Compute the SHA-256 of an image's pixels (H, W)."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def sky_sha256(folder: Path) -> str | None:
    """Read which frame hits were added to make a labelled frame, by its SHA-256; earlier versions did not write it."""
    try:
        found: str | None = json.loads((folder / "facts.json").read_text()).get("sky_sha256")
    except (OSError, ValueError):  # load_labelled says what is wrong
        return None
    return found


def load_labelled(folder: Path) -> LabelledFrame:
    """Open a labelled frame with memory-mapped arrays.

    Raises
    ------
    ValueError
        If a file is missing or damaged, or the shapes differ.
    """
    try:
        image, truth, bad = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "truth", "bad"))
        if not image.shape == truth.shape == bad.shape:
            raise ValueError(f"the truth is {truth.shape}, the bad pixels are {bad.shape}, the image {image.shape}")
        blank = np.load(folder / "blank.npy", mmap_mode="r") if (folder / "blank.npy").is_file() else None
        if blank is not None and blank.shape != image.shape:
            raise ValueError(f"the blank pixels are {blank.shape}, the image {image.shape}")
        return LabelledFrame(image, truth, bad, json.loads((folder / "facts.json").read_text()), blank)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{folder} is not a whole labelled frame ({error}): delete it and run again") from error
