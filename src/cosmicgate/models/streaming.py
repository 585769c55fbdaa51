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

from cosmicgate.models.blocks import AttentionGate, DoubleConv
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
    """A U-Net that is given an image by rows, and keeps what it still needs of the earlier ones.

    What a layer finds is written once, to where the next one reads it; ReLU is on that way. A skip connection waits
    where the decoder will read it, beside the place of what comes from below.
    """

    def __init__(self, network: UNet, dtype: torch.dtype = torch.float32) -> None:
        if has_group_norm(network):
            raise ValueError("group norm needs the whole image at once: settle it before the rows come")
        network = folded(network).to(dtype)
        self.encoder = [Block(block) for block in network.encoder]
        self.decoder = [Block(block) for block in network.decoder]
        self.gates = [Gate(gate) for gate in network.gates]
        self.up, self.head = network.up, network.head
        self.odd: list[Tensor | None] = [None] * len(network.up)  # a row that waits for its partner in the pooling

    def push(self, strip: Tensor, last: bool) -> Tensor:
        """Take the next rows (1, 1, R, W), return the logits (1, 1, R', W) of those that are finished."""
        self.encoder[0].room(strip).copy_(strip)
        features = self._level(0, strip.shape[2], last)
        logits: Tensor = self.head(features) if features.shape[2] else features[:, :1]
        return logits

    def _level(self, level: int, new: int, last: bool) -> Tensor:
        """Return the features (1, C, R, W) that are finished, now that this level has ``new`` rows more."""
        x = self.encoder[level].found(new, last)
        if level == len(self.up):
            return x.relu_()
        decoder = self.decoder[level]
        rectified(x, decoder.room(x)[:, : x.shape[1]])
        pooled = 0
        for part in self._pooled(level, x):
            rectified(part, self.encoder[level + 1].room(part))
            pooled += part.shape[2]
        below = self._level(level + 1, pooled, last)
        ready = 2 * below.shape[2]
        if ready:
            both = decoder.next(ready)
            channels = both.shape[1] // 2
            both[:, channels:] = self.up[level](below)
            if self.gates:
                both[:, :channels] *= self.gates[level](both)
        return decoder.found(ready, last).relu_()

    def _pooled(self, level: int, x: Tensor) -> Iterator[Tensor]:
        """Yield the rows that the pooling makes of ``x``, before their ReLU; a row without its partner waits."""
        odd = self.odd[level]
        if odd is not None and x.shape[2]:
            yield F.max_pool2d(torch.cat([odd, x[:, :, :1]], dim=2), 2)
            x, self.odd[level] = x[:, :, 1:], None
        even = x.shape[2] // 2 * 2
        if even:
            yield F.max_pool2d(x[:, :, :even], 2)
        else:
            yield x[:, :, :0, ::2]
        if even < x.shape[2]:
            self.odd[level] = x[:, :, even:].clone(memory_format=FAST)


class Block:
    """The two convolutions of a folded block, by rows."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, DoubleConv)
        self.first, self.second = Rows(block.conv1), Rows(block.conv2)

    def room(self, like: Tensor) -> Tensor:
        """Return the place (1, C, R, W) of the next rows, as many and as wide as ``like``, to be written to."""
        return self.first.room(like)

    def next(self, rows: int) -> Tensor:
        """Return the rows (1, C, R, W) that are next to be found something for."""
        return self.first.next(rows)

    def found(self, new: int, last: bool) -> Tensor:
        """Return the features (1, C', R', W), before their ReLU, that are finished with ``new`` rows of the room."""
        x = self.first.found(new, last)
        rectified(x, self.second.room(x))
        return self.second.found(x.shape[2], last)


class Rows:
    """A convolution of 3x3 with zeros around the image, by rows: they wait in one piece of memory for those below.

    The piece moves down as rows leave it above and enter it below, and starts again at the top when its end is reached.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.weight = convolution.weight.contiguous(memory_format=FAST)
        self.bias = convolution.bias
        self.memory: Tensor | None = None  # (1, C, all rows, W)
        self.top = self.whole = self.end = 0  # of what waits: its first row, where whole rows end, where all end

    def room(self, like: Tensor) -> Tensor:
        """Return the place (1, C, R, W) of the next rows, as many and as wide as ``like``, to be written to."""
        rows, width = like.shape[2:]
        if self.memory is None:
            self._space(1, width).zero_()  # above the image
            self.whole = 1
        return self._space(rows, width)

    def next(self, rows: int) -> Tensor:
        """Return the first ``rows`` of those that are not whole yet: of which some channels are still to be written."""
        assert self.memory is not None
        return self.memory[:, :, self.whole : self.whole + rows]

    def found(self, new: int, last: bool) -> Tensor:
        """Return the convolution (1, C', R', W) of rows whose neighbours are all known.

        Parameters
        ----------
        new : int
            So many rows more are whole.
        last : bool
            No row comes after these.
        """
        assert self.memory is not None
        self.whole += new
        width = self.memory.shape[3]
        if last:
            self._space(1, width).zero_()
            self.whole += 1
        top, self.top = self.top, max(self.whole - 2, self.top)
        if top == self.top:
            return self.weight.new_zeros(1, len(self.weight), 0, width)
        return F.conv2d(self.memory[:, :, top : self.whole], self.weight, self.bias, padding=(0, 1))

    def _space(self, rows: int, width: int) -> Tensor:
        """Return the place (1, C, R, W) of so many rows at the end."""
        if self.memory is None or self.end + rows > self.memory.shape[2]:
            self._start_again(rows, width)
        assert self.memory is not None
        self.end += rows
        return self.memory[:, :, self.end - rows : self.end]

    def _start_again(self, rows: int, width: int) -> None:
        """Move what waits to the top of the memory, of more memory if it is too little for ``rows`` more."""
        held = self.end - self.top
        waiting = None if self.memory is None else self.memory[:, :, self.top : self.end]
        if self.memory is None or held + rows > self.memory.shape[2] or held > self.top:
            size = (1, self.weight.shape[1], 2 * held + rows, width)
            self.memory = torch.empty(size, dtype=self.weight.dtype, device=self.weight.device, memory_format=FAST)
        if waiting is not None:
            self.memory[:, :, :held] = waiting
        self.top, self.whole, self.end = 0, self.whole - self.top, held


class Gate:
    """An attention gate whose two arms are one convolution of what they look at, which lies side by side."""

    def __init__(self, gate: nn.Module) -> None:
        assert isinstance(gate, AttentionGate)
        arms = gate.skip_conv, gate.gate_conv
        self.weight = torch.cat([arm.weight for arm in arms], dim=1).contiguous(memory_format=FAST)
        assert gate.skip_conv.bias is not None
        assert gate.gate_conv.bias is not None
        self.bias = gate.skip_conv.bias + gate.gate_conv.bias
        self.map = gate.map_conv

    def __call__(self, both: Tensor) -> Tensor:
        """Return the attention map (1, 1, R, W) of skip connection and decoder's features (1, 2 C, R, W)."""
        weights: Tensor = self.map(F.conv2d(both, self.weight, self.bias).relu_()).sigmoid_()
        return weights


def rectified(x: Tensor, place: Tensor) -> None:
    """Write ReLU of ``x`` to its place."""
    if x.numel():
        torch.clamp_min(x, 0, out=place)
