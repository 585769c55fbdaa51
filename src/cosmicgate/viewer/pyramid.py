"""Cut an image into tiles, at full size and averaged over blocks, for a page that zooms."""

from threading import Lock

import numpy as np
from numpy.typing import NDArray

TILE = 256  # px: side of a tile at its level


class Pyramid:
    """An image (H, W) and its versions averaged over blocks of 2x2, 4x4 ... pixels, each made when it is first needed.

    A block is averaged over its finite pixels; it is NaN if it has none.
    """

    def __init__(self, image: NDArray[np.float32]) -> None:
        self._levels = [image]
        self._lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        rows, columns = self._levels[0].shape
        return rows, columns

    @property
    def depth(self) -> int:
        """Number of the level at which the image fits into one tile; 0 is the image itself."""
        return max(int(np.ceil(np.log2(max(self.shape) / TILE))), 0)

    def level(self, number: int) -> NDArray[np.float32]:
        """Average the image over blocks of 2^number pixels on a side."""
        with self._lock:
            while len(self._levels) <= number:
                self._levels.append(block_mean(self._levels[-1]))
            return self._levels[number]

    def tile(self, level: int, row: int, column: int) -> NDArray[np.float32]:
        """Cut out a tile (up to 256, up to 256); tile (0, 0) has the image's first pixel.

        Raises
        ------
        IndexError
            There is no such tile.
        """
        rows, columns = (-(-side // (TILE << level)) for side in self.shape) if level >= 0 else (0, 0)
        if not (0 <= level <= self.depth and 0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"there is no tile {level}/{row}/{column}: expected levels from 0 to {self.depth}")
        return self.level(level)[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def block_mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average an image (H, W) over blocks of 2x2 pixels, of their finite pixels; odd sides end with smaller blocks."""
    rows, columns = image.shape
    if rows % 2 or columns % 2:
        image = np.pad(image, ((0, rows % 2), (0, columns % 2)), constant_values=np.nan)
    first, *others = parts = [image[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    with np.errstate(invalid="ignore", over="ignore"):
        mean: NDArray[np.float32] = first + others[0]
        for part in others[1:]:
            mean += part
    mean /= 4
    lost = ~np.isfinite(mean)  # few blocks of most images
    if lost.any():
        values = np.stack([part[lost] for part in parts])
        finite = np.isfinite(values)
        total, count = np.where(finite, values, 0).sum(axis=0), finite.sum(axis=0)
        mean[lost] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
