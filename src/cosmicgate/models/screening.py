"""Logits where there could be a hit, and nothing elsewhere: a tiny network looks first, the real one at what is left.

Cosmic rays touch one pixel in some thousand. A network of a few thousand weights, made lenient, finds every place that
could hold one; the real network then sees these places alone, with as much around them as it needs to say there exactly
what it says for the whole image.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from cosmicgate.models.folding import folded, has_group_norm
from cosmicgate.models.scaling import Levels
from cosmicgate.models.streaming import FAST, Scale, streamed_logits, unscaled
from cosmicgate.models.unet import UNet

NOTHING = -30.0  # logit where nobody looked
LONGEST = 8  # cells of a window
BATCH = 1 << 18  # pixels that go through the network together


@dataclass(frozen=True)
class Screen:
    """The first look.

    Attributes
    ----------
    network : UNet
        With batch norm and the scaling of the network that it looks for; few channels.
    threshold : float
        Logit from which a pixel is looked at again.
    cell : int
        Side of the squares that are looked at or not, px; a multiple of 4.
    margin : int
        Pixels around a square in which a pixel over the threshold counts for it too.
    halo : int
        Pixels around a square that the network sees beside it: 24 give a UNet-3 all that it needs.
    """

    network: UNet
    threshold: float
    cell: int = 16
    margin: int = 4
    halo: int = 24


@torch.inference_mode()
def screened_logits(
    network: UNet,
    screen: Screen,
    image: Tensor,
    dtype: torch.dtype = torch.float32,
    look: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, float]:
    """Return the logits (H, W), float32, of an image, and which part of it the network looked at.

    Parameters
    ----------
    network : UNet
        In evaluation mode, on the device to compute on. With batch norm its logits in a square that is looked at are
        those of the whole image.
    screen : Screen
        Says where.
    image : Tensor (H, W), float32
        ADU.
    dtype : torch.dtype
        Type to compute in.
    look : callable, optional
        The network as another engine computes it, scaled images (N, 1, H, W) on the CPU in, logits out.
    """
    if has_group_norm(network):
        raise ValueError("group norm measures its whole tile: a network that has it cannot look at single places")
    scale = Levels.of(image).scaled if network.scaling == "robust" else unscaled
    cells = suspicious(screen, image, scale, dtype)
    logits = torch.full(image.shape, NOTHING)
    look = look or folded(network).to(dtype).logits
    device = next(network.parameters()).device
    for windows in alike(cells, screen, image.shape):
        (top, bottom, left, right), _ = windows[0]
        step = max(BATCH // ((bottom - top) * (right - left)), 1)
        for first in range(0, len(windows), step):
            chunk = windows[first : first + step]
            tiles = torch.stack([scale(image[t:b, lo:hi], t, lo) for (t, b, lo, hi), _ in chunk])[:, None]
            found = look(tiles.to(device, dtype).contiguous(memory_format=FAST))[:, 0].float().cpu()
            for ((t, _, lo, _), (y0, y1, x0, x1)), score in zip(chunk, found, strict=True):
                logits[y0:y1, x0:x1] = score[y0 - t : y1 - t, x0 - lo : x1 - lo]
    return logits, float(cells.float().mean())


def suspicious(screen: Screen, image: Tensor, scale: Scale, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return which squares of the image (H, W) could hold a hit (rows, columns), bool."""
    first = streamed_logits(screen.network, image, scale, rows=64, dtype=dtype)
    height, width = image.shape
    below, right = -height % screen.cell, -width % screen.cell
    over = (first >= screen.threshold).float()[None, None]
    over = F.pad(over, (screen.margin, right + screen.margin, screen.margin, below + screen.margin))
    return F.max_pool2d(over, screen.cell + 2 * screen.margin, screen.cell)[0, 0] > 0


Box = tuple[int, int, int, int]  # first and last + 1 row, first and last + 1 column


def alike(cells: Tensor, screen: Screen, shape: tuple[int, ...] | torch.Size) -> Iterator[list[tuple[Box, Box]]]:
    """Return windows and the part of each that is kept, those of one size together. Squares in a row share one."""
    height, width = shape
    sizes: dict[tuple[int, int], list[tuple[Box, Box]]] = defaultdict(list)
    for row, first, last in runs(cells):
        kept = (
            row * screen.cell,
            min((row + 1) * screen.cell, height),
            first * screen.cell,
            min(last * screen.cell, width),
        )
        window = (
            max(kept[0] - screen.halo, 0),
            min(kept[1] + screen.halo, height),
            max(kept[2] - screen.halo, 0),
            min(kept[3] + screen.halo, width),
        )
        sizes[window[1] - window[0], window[3] - window[2]].append((window, kept))
    yield from sizes.values()


def runs(cells: Tensor) -> Iterator[tuple[int, int, int]]:
    """Return row, first and last + 1 column of squares side by side, at most :data:`LONGEST` of them."""
    for row in cells.any(dim=1).nonzero()[:, 0].tolist():
        columns = cells[row].nonzero()[:, 0].tolist()
        first = previous = columns[0]
        for column in columns[1:]:
            if column != previous + 1 or column - first == LONGEST:
                yield row, first, previous + 1
                first = column
            previous = column
        yield row, first, previous + 1
