"""Divide the rows of an image among threads.

An idle thread takes over half of the rows that the slowest thread has left.
"""

from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

# Minimum number of rows of a thread, in units of the reach: with fewer, the overlap costs more than a thread gains.
MIN_ROWS_PER_THREAD = 8
MIN_TAKEOVER = 4  # in units of the reach: rows a thread must have left for half of them to be taken over


@dataclass
class Share:
    """The rows whose logits one thread computes.

    Attributes
    ----------
    first, stop : int
        Row range, without ``stop``, which decreases when another thread takes over the last rows.
    above, below : Tensor (R, W)
        Neighbouring rows that the network needs as well. They are copies, because the originals in the image may
        already have been overwritten by their logits.
    entered : int
        End of the rows that have entered the network.
    """

    first: int
    stop: int
    above: Tensor
    below: Tensor
    entered: int = field(init=False)

    def __post_init__(self) -> None:
        self.entered = self.top

    @property
    def top(self) -> int:
        """First row that enters the network."""
        return self.first - len(self.above)


class RowShares:
    """The rows of an image, divided into shares that threads take.

    Parameters
    ----------
    image : Tensor (H, W), float32
        Image whose rows may be overwritten once they have entered the network.
    threads : int
        Maximum number of shares at once; an image of few rows gets fewer.
    reach : int
        Number of rows above and below a row that its logits depend on; a multiple of the network's pooling.
    rows : int
        Number of rows that enter the network at once; a multiple of the network's pooling.
    """

    def __init__(self, image: Tensor, threads: int, reach: int, rows: int) -> None:
        self.image, self.reach, self.rows = image, -(-reach // rows) * rows, rows
        height = len(image)
        self.threads = min(threads, max(height // (MIN_ROWS_PER_THREAD * reach), 1))
        cuts = [round(height * k / self.threads / rows) * rows for k in range(1, self.threads)]
        self._waiting = [self._share(first, stop) for first, stop in zip([0, *cuts], [*cuts, height], strict=True)]
        self._begun: list[Share] = []
        self._lock = Lock()

    def take(self) -> Share | None:
        """Take a waiting share, or the lower half of what the slowest thread has left; None if too little is left."""
        with self._lock:
            share = self._waiting.pop(0) if self._waiting else self._half_of_the_largest()
            if share is not None:
                self._begun.append(share)
            return share

    def enter(self, share: Share) -> tuple[int, Tensor] | None:
        """Take the next rows of a share: number of the first and Tensor (R, W), or None if there are no more."""
        with self._lock:
            top, end = share.entered, share.stop + len(share.below)
            bottom = share.entered = min(top + self.rows, end)
            first, stop, below = share.first, share.stop, share.below
        if top == bottom:
            return None
        parts = [
            share.above[top - share.top : bottom - share.top],
            self.image[max(top, first) : min(bottom, stop)],
            below[max(top - stop, 0) : max(bottom - stop, 0)],
        ]
        parts = [part for part in parts if len(part)]
        return top, parts[0] if len(parts) == 1 else torch.cat(parts)

    def _half_of_the_largest(self) -> Share | None:
        largest = max(self._begun, key=lambda share: share.stop - share.entered)
        middle = -(-(largest.entered + largest.stop) // 2 // self.rows) * self.rows
        if largest.stop - largest.entered < MIN_TAKEOVER * self.reach or middle >= largest.stop:
            return None
        taken = Share(middle, largest.stop, self.image[middle - self.reach : middle].clone(), largest.below)
        largest.stop, largest.below = middle, self.image[middle : middle + self.reach].clone()
        return taken

    def _share(self, first: int, stop: int) -> Share:
        above, below = self.image[max(first - self.reach, 0) : first], self.image[stop : stop + self.reach]
        return Share(first, stop, above.clone(), below.clone())
