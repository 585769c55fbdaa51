"""Encode planes of a few codes as runs of equal pixels, and arrays as text, for the page."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_runs(plane: NDArray[Any]) -> NDArray[np.uint32]:
    """Encode the pixels of a plane (H, W) that are not 0 as runs (N, 3): first pixel, length, code.

    Pixels are counted along the rows, from the first row.
    """
    flat = np.ascontiguousarray(plane).ravel().astype(np.uint8)
    starts = np.flatnonzero(np.diff(flat, prepend=np.uint8(0)) != 0)
    if flat.size and flat[0]:
        starts = np.union1d(starts, [0])
    ends = np.append(starts[1:], flat.size)
    codes = flat[starts]
    kept = codes > 0
    return np.column_stack([starts[kept], (ends - starts)[kept], codes[kept]]).astype(np.uint32)


def from_runs(runs: NDArray[np.uint32], shape: tuple[int, int], codes: int) -> NDArray[np.uint8]:
    """Decode runs (N, 3) to a plane (H, W) of the codes 0 to ``codes``.

    Raises
    ------
    ValueError
        If a run is empty, leaves the image, or has another code.
    """
    plane = np.zeros(shape[0] * shape[1], np.uint8)
    starts, lengths, values = runs.astype(np.int64).reshape(-1, 3).T
    if ((lengths < 1) | (starts + lengths > plane.size) | (values < 1) | (values > codes)).any():
        raise ValueError(f"expected runs of pixels of an image {shape} with codes from 1 to {codes}, got others")
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    plane[np.repeat(starts, lengths) + steps] = np.repeat(values, lengths)
    return plane.reshape(shape)


def to_text(array: NDArray[Any]) -> str:
    """Encode the little-endian bytes of an array as base64."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def runs_from_text(text: Any) -> NDArray[np.uint32]:
    """Decode runs (N, 3) from base64.

    Raises
    ------
    ValueError
        If the text is no such encoding.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected runs of pixels as base64, got {type(text).__name__}")
    content = base64.b64decode(text, validate=True)
    if len(content) % 12:
        raise ValueError(f"expected runs of pixels of 12 bytes each, got {len(content)} bytes")
    return np.frombuffer(content, "<u4").reshape(-1, 3)


def pixels_to_text(image: NDArray[np.float32], sky: float, noise: float, step: float = 0.02) -> Mapping[str, Any]:
    """Encode an image in few bytes, for a page without a server; it is rounded to ``step`` sigma, or by that fraction.

    The values are asinh((image - sky) / noise) / step as int16, the low bytes of all pixels before the high ones,
    compressed by zlib; the lowest number stands for pixels that are not finite.
    """
    with np.errstate(invalid="ignore"):
        scaled = np.rint(np.arcsinh((image.astype(np.float64) - sky) / noise) / step)
    numbers = np.where(np.isfinite(image), np.clip(scaled, -32767, 32767), -32768).astype("<i2")
    both = numbers.ravel().view(np.uint8).reshape(-1, 2)
    content = zlib.compress(np.ascontiguousarray(both.T).tobytes(), 6)
    return {"sky": sky, "noise": noise, "step": step, "data": base64.b64encode(content).decode()}
