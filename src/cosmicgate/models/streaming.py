"""Logits of an image of any size in one pass over its rows: no tiles, no seams, nothing computed twice.

A convolution of 3x3 pixels needs one row above and one below. So each layer keeps the last two rows that it saw, and
while rows come in at the top of the network, finished rows leave it, a few dozen rows later. What comes out is what the
network gives for the whole image, in the memory of a few rows. This needs layers that look at single pixels or at their
neighbours; group norm looks at all of its image, so it has to be settled first (:mod:`cosmicgate.models.settling`).
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from cosmicgate.models.blocks import DoubleConv
from cosmicgate.models.folding import folded, has_group_norm
from cosmicgate.models.unet import UNet

FAST = torch.channels_last
ROWS, ROWS_GPU = 16, 512
Scale = Callable[[Tensor, int, int], Tensor]  # a part of the image, its first row and column -> the part, scaled


def unscaled(part: Tensor, top: int, left: int) -> Tensor:  # noqa: ARG001 (a Scale)
    """Leave the image as it is."""
    return part


@torch.inference_mode()
def streamed_logits(
    network: UNet,
    image: Tensor,
    scale: Scale = unscaled,
    rows: int | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Tensor:
    """Return the logits (H, W), float32, that ``network.logits`` gives for the whole image (H, W).

    Parameters
    ----------
    network : UNet
        In evaluation mode, with batch norm, on the device to compute on.
    image : Tensor (H, W), float32
        ADU.
    scale : callable
        What happens to each strip before the network sees it.
    rows : int, optional
        Rows that enter at once. On a CPU few are faster, because they stay in its cache; a GPU wants many.
    dtype : torch.dtype
        Type to compute in.
    overwrite : bool
        The logits take the memory of the image, which is no longer needed: of each row, once it has been seen.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image (H, W), got {tuple(image.shape)}")
    height, width = image.shape
    device = next(network.parameters()).device
    gpu = device.type == "cuda"
    stream = Stream(network, dtype)
    logits = image if overwrite and not gpu else torch.empty(height, width, pin_memory=gpu)
    done = 0
    for strip, last in strips(image, scale, rows or (ROWS_GPU if gpu else ROWS), network.step):
        strip = strip.pin_memory() if gpu else strip  # so that it is copied while the one before is computed
        strip = strip.to(device, dtype, non_blocking=True)
        found = stream.push(strip[None, None].contiguous(memory_format=FAST), last)
        found = found[0, 0, : height - done, :width]
        logits[done : done + len(found)].copy_(found, non_blocking=True)
        done += len(found)
    if gpu:
        torch.cuda.synchronize(device)
    return logits


def strips(image: Tensor, scale: Scale, rows: int, step: int) -> Iterator[tuple[Tensor, bool]]:
    """Cut an image into scaled strips, and say which is the last: one without rows, as many come out after it.

    Sides that are no multiples of ``step`` are filled with the last row and column, as in ``UNet.logits``.
    """
    height, width = image.shape
    rows = max(rows // step, 1) * step
    for top in range(0, height, rows):
        strip = scale(image[top : top + rows], top, 0)
        below, right = -len(strip) % step, -width % step
        if below or right:
            strip = F.pad(strip[None, None], (0, right, 0, below), mode="replicate")[0, 0]
        yield strip, False
    yield strip[:0], True


class Stream:
    """A U-Net that is given an image by rows, and keeps what it still needs of the earlier ones."""

    def __init__(self, network: UNet, dtype: torch.dtype = torch.float32) -> None:
        if has_group_norm(network):
            raise ValueError("group norm needs the whole image at once: settle it before the rows come")
        self.network = folded(network).to(dtype)
        self.encoder = [by_rows(block) for block in self.network.encoder]
        self.decoder = [by_rows(block) for block in self.network.decoder]
        self.skips: list[Tensor | None] = [None] * len(network.up)  # rows that wait for those from below
        self.odd: list[Tensor | None] = [None] * len(network.up)  # a row that waits for its partner in the pooling

    def push(self, strip: Tensor, last: bool) -> Tensor:
        """Take the next rows (1, 1, R, W), return the logits (1, 1, R', W) of those that are finished."""
        features = self._level(0, strip, last)
        logits: Tensor = self.network.head(features) if features.shape[2] else features[:, :1]
        return logits

    def _level(self, level: int, x: Tensor, last: bool) -> Tensor:
        for rows in self.encoder[level]:
            x = rows.push(x, last=last)
        if level == len(self.skips):
            return x
        skips, x = joined(self.skips[level], x), joined(self.odd[level], x)
        self.skips[level] = None  # or these rows would be held twice while the levels below are at work
        even = x.shape[2] // 2 * 2
        self.odd[level] = x[:, :, even:].clone(memory_format=FAST)
        x = F.max_pool2d(x[:, :, :even], 2) if even else x[:, :, :0, ::2]
        below = self._level(level + 1, x, last)
        ready = 2 * below.shape[2]
        skip, self.skips[level] = skips[:, :, :ready], skips[:, :, ready:].clone(memory_format=FAST)
        up = self.network.up[level](below).contiguous(memory_format=FAST) if ready else skip
        if self.network.gates and ready:
            skip = self.network.gates[level](up, skip)
        first, second = self.decoder[level]
        return second.push(first.push(skip, up, last=last), last=last)


def by_rows(block: nn.Module) -> tuple["Rows", "Rows"]:
    """Return the two convolutions of a folded block."""
    assert isinstance(block, DoubleConv)
    return Rows(block.conv1), Rows(block.conv2)


class Rows:
    """A convolution of 3x3 with zeros around the image, and ReLU, by rows."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.weight = convolution.weight.contiguous(memory_format=FAST)
        self.bias = convolution.bias
        self.kept: Tensor | None = None  # the last two rows (1, C, 2, W)

    def push(self, *parts: Tensor, last: bool) -> Tensor:
        """Take rows (1, C, R, W), return those (1, C', R', W) whose neighbours are all known.

        Parameters
        ----------
        *parts : Tensor
            Channels of the same rows, one behind the other.
        last : bool
            No row comes after these.
        """
        new, width = parts[0].shape[2:]
        if not new and not last:
            return self._nothing(width)
        x = self._below(parts, new, width, last)
        self.kept = x[:, :, -2:].clone(memory_format=FAST)  # a view would keep all rows
        return F.conv2d(x, self.weight, self.bias, padding=(0, 1)).relu_() if x.shape[2] > 2 else self._nothing(width)

    def _below(self, parts: tuple[Tensor, ...], new: int, width: int, last: bool) -> Tensor:
        """Return the rows (1, C, kept + R, W) that were kept and the new ones below; zeros around the image."""
        kept = 1 if self.kept is None else self.kept.shape[2]
        size = (1, self.weight.shape[1], kept + new + last, width)
        x = torch.empty(size, dtype=self.weight.dtype, device=self.weight.device, memory_format=FAST)
        x[:, :, :kept] = 0 if self.kept is None else self.kept
        x[:, :, kept + new :] = 0
        channel = 0
        for part in parts:
            x[:, channel : channel + part.shape[1], kept : kept + new] = part
            channel += part.shape[1]
        return x

    def _nothing(self, width: int) -> Tensor:
        return self.weight.new_zeros(1, len(self.weight), 0, width)


def joined(before: Tensor | None, after: Tensor) -> Tensor:
    """Return ``after`` below what was left of the rows before it."""
    return after if before is None or not before.shape[2] else torch.cat([before, after], dim=2)
