"""Logits where there could be a hit, and nothing elsewhere: a tiny network looks first, the real one at what is left.

Cosmic rays touch one pixel in some thousand. A network of a few thousand weights, made lenient, finds every place that
could hold one; the real network then sees these places alone, with as much around them as it needs to say there what it
says for the whole image.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from cosmicgate.models.folding import folded, has_group_norm
from cosmicgate.models.inference import knows_bfloat16
from cosmicgate.models.scaling import Levels
from cosmicgate.models.streaming import FAST, Scale, streamed_logits, unscaled
from cosmicgate.models.unet import UNet

NOTHING = -30.0  # logit where nobody looked
LONGEST = 8  # squares along a side of a window
AROUND = 4  # pixels
FIRST_ROWS = 64  # that enter the first network at once, on a CPU
BATCH, BATCH_GPU = 1 << 15, 1 << 20  # pixels that go through the network together


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
        Pixels around a square that the network sees beside it. With 24 a UNet-3 says there what it says for the whole
        image.
    """

    network: UNet
    threshold: float
    cell: int = 8
    margin: int = 4
    halo: int = 24


@torch.inference_mode()
def screened_logits(
    network: UNet,
    screen: Screen,
    image: Tensor,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, float]:
    """Return the logits (H, W), float32, of an image, and which part of it the network looked at.

    Parameters
    ----------
    network : UNet
        In evaluation mode, on the device to compute on. With batch norm, and a halo of its reach, its logits in a
        square that is looked at are those of the whole image.
    screen : Screen
        Says where.
    image : Tensor (H, W), float32
        ADU.
    dtype : torch.dtype
        Type to compute in. The first look decides about squares, not about pixels: on processors that know bfloat16
        that does for it.
    """
    if has_group_norm(network):
        raise ValueError("group norm measures its whole tile: a network that has it cannot look at single places")
    if screen.cell % network.step or screen.halo % network.step:
        raise ValueError(f"expected cell and halo to be multiples of {network.step}, got {screen.cell}, {screen.halo}")
    scale = Levels.of(image).scaled if network.scaling == "robust" else unscaled
    cells = suspicious(screen, image, scale, dtype)
    logits = torch.full(image.shape, NOTHING)
    look = folded(network).to(dtype)
    device = next(look.parameters()).device
    for windows in alike(cells, screen, image.shape):
        (top, bottom, left, right), (y0, y1, x0, x1) = windows[0]
        box = y0 - top, y1 - top, x0 - left, x1 - left
        step = max((BATCH_GPU if device.type == "cuda" else BATCH) // ((bottom - top) * (right - left)), 1)
        for first in range(0, len(windows), step):
            chunk = windows[first : first + step]
            tiles = torch.stack([scale(image[t:b, lo:hi], t, lo) for (t, b, lo, hi), _ in chunk])[:, None]
            found = logits_within(look, tiles.to(device, dtype).contiguous(memory_format=FAST), box)[:, 0].float().cpu()
            for (_, (y0, y1, x0, x1)), score in zip(chunk, found, strict=True):
                logits[y0:y1, x0:x1] = score
    looked = 0
    for top in range(0, len(logits), FIRST_ROWS):  # by rows, in little memory
        looked += int(torch.count_nonzero(logits[top : top + FIRST_ROWS] > NOTHING))
    return logits, looked / logits.numel()


def logits_within(network: UNet, tiles: Tensor, box: "Box") -> Tensor:
    """Return the logits (N, 1, h, w) that ``network.logits(tiles)`` has in a box of the tiles (N, 1, H, W), scaled.

    The way up computes no more than what the box needs: two convolutions see two pixels around it, and as many are lost
    at a cut, whose zeros are no image. So :data:`AROUND` pixels are left around it at every resolution.
    """
    height, width = tiles.shape[-2:]
    x = F.pad(tiles, (0, -width % network.step, 0, -height % network.step), mode="replicate")
    skips: list[Tensor] = []
    for level, block in enumerate(network.encoder):
        x = block(F.max_pool2d(x, 2) if level else x)
        skips.append(x)
    skips.pop()
    top = left = 0  # of x, in pixels of its resolution
    for level in reversed(range(len(network.up))):
        x, top, left = network.up[level](x), 2 * top, 2 * left
        y0, x0 = (max(side // 2**level - AROUND, 0) for side in (box[0], box[2]))
        y1, x1 = (-(-side // 2**level) + AROUND for side in (box[1], box[3]))
        skip = skips[level][:, :, y0:y1, x0:x1]
        x = x[:, :, y0 - top : y1 - top, x0 - left : x1 - left]
        top, left = y0, x0
        skip = network.gates[level](x, skip) if network.gates else skip
        x = network.decoder[level](torch.cat([skip, x], dim=1))
    x = x[:, :, box[0] - top : box[1] - top, box[2] - left : box[3] - left]
    logits: Tensor = network.head(x)
    return logits


def suspicious(screen: Screen, image: Tensor, scale: Scale, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return which squares of the image (H, W) could hold a hit (rows, columns), bool."""
    on_gpu = next(screen.network.parameters()).is_cuda
    dtype = torch.bfloat16 if not on_gpu and knows_bfloat16() else dtype
    first = streamed_logits(screen.network, image, scale, None if on_gpu else FIRST_ROWS, dtype)
    return brightest(screen, first) >= screen.threshold


def brightest(screen: Screen, logits: Tensor) -> Tensor:
    """Return the highest logit (rows, columns) in each square of the image (H, W) and in its margin."""
    cell, margin = screen.cell, screen.margin
    step = margin if margin and cell % margin == 0 else 1  # squares share what is in the margin of both
    found = F.max_pool2d(logits[None, None], step, ceil_mode=True) if step > 1 else logits[None, None]
    below, right = (-length % (cell // step) for length in found.shape[2:])
    around = margin // step
    found = F.pad(found, (around, right + around, around, below + around), value=NOTHING)
    return F.max_pool2d(found, (cell + 2 * margin) // step, cell // step)[0, 0]


Box = tuple[int, int, int, int]  # first and last + 1 row, first and last + 1 column


def alike(cells: Tensor, screen: Screen, shape: tuple[int, ...] | torch.Size) -> Iterator[list[tuple[Box, Box]]]:
    """Return windows and the part of each that is kept, those of one form together. Neighbouring squares share one."""
    height, width = shape
    forms: dict[tuple[int, ...], list[tuple[Box, Box]]] = defaultdict(list)
    for top, bottom, left, right in boxes(cells):
        kept = (
            top * screen.cell,
            min(bottom * screen.cell, height),
            left * screen.cell,
            min(right * screen.cell, width),
        )
        window = (
            max(kept[0] - screen.halo, 0),
            min(kept[1] + screen.halo, height),
            max(kept[2] - screen.halo, 0),
            min(kept[3] + screen.halo, width),
        )
        inside = kept[0] - window[0], kept[1] - window[0], kept[2] - window[2], kept[3] - window[2]
        forms[*inside, window[1] - window[0], window[3] - window[2]].append((window, kept))
    yield from forms.values()


def boxes(cells: Tensor) -> Iterator[Box]:
    """Return boxes, in squares, that hold all squares to be looked at: each around some that touch, also at corners.

    None is longer than :data:`LONGEST`, so that a long trail across the frame does not ask for all of the frame.
    """
    places = [(row, column) for row, column in cells.nonzero().tolist()]
    left_over = set(places)
    for place in places:
        if place not in left_over:
            continue
        row, column = place
        top, bottom, left, right = row, row + 1, column, column + 1
        waiting = [place]
        left_over.remove(place)
        while waiting:
            row, column = waiting.pop()
            for near in product(range(row - 1, row + 2), range(column - 1, column + 2)):
                if near not in left_over:
                    continue
                wider = min(top, near[0]), max(bottom, near[0] + 1), min(left, near[1]), max(right, near[1] + 1)
                if max(wider[1] - wider[0], wider[3] - wider[2]) <= LONGEST:
                    top, bottom, left, right = wider
                    waiting.append(near)
                    left_over.remove(near)
        yield top, bottom, left, right
