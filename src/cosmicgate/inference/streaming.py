"""Compute the logits of an image of any size in one pass over its rows, without tiles or seams.

A 3x3 convolution needs one row above and one below. So each layer keeps the last two rows that it was given: as rows
enter the network, finished rows leave it a few dozen rows later. The logits are those of the whole image, in the memory
of a few rows. Several threads do this at once, each for its own rows. All layers must be local; group norm, which
depends on the whole image, has to be frozen first (:mod:`cosmicgate.inference.frozen_group_norm`).
"""

from collections.abc import Iterator
from threading import Event

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from cosmicgate.inference.background_grid import Scale, identity_scale
from cosmicgate.inference.fuse_batch_norm import fuse_batch_norm, has_group_norm
from cosmicgate.inference.row_shares import RowShares, Share
from cosmicgate.inference.threads import run_in_threads
from cosmicgate.models.layers import AttentionGate, DoubleConv
from cosmicgate.models.unet import UNet

CHANNELS_LAST = torch.channels_last
ROWS, ROWS_GPU = 16, 512
MAX_SHARES = 4  # per image: each keeps rows of every layer, 80 MB for a frame of 2048 columns


@torch.inference_mode()
def streamed_logits(
    network: UNet,
    image: Tensor,
    scale: Scale = identity_scale,
    rows: int | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Tensor:
    """Compute the logits (H, W), float32, that ``network.logits`` gives for the whole image (H, W).

    Parameters
    ----------
    network : UNet
        Network in evaluation mode, with batch norm, on the device to compute on.
    image : Tensor (H, W), float32, ADU
        Frame to search.
    scale : callable
        Normalisation of each strip of rows (:data:`~cosmicgate.inference.background_grid.Scale`).
    rows : int, optional
        Number of rows that enter the network at once. Few are faster on a CPU, because they stay in its cache, and
        many on a GPU; the default is 16 or 512.
    dtype : torch.dtype
        Type to compute in.
    overwrite : bool
        Whether the logits are written to the image's memory, each row after the network has seen it. Ignored on a GPU.

    Raises
    ------
    ValueError
        The image is not two-dimensional.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image (H, W), got {tuple(image.shape)}")
    device = next(network.parameters()).device
    gpu = device.type == "cuda"
    logits = image if overwrite and not gpu else torch.empty(image.shape, pin_memory=gpu)
    reach = -(-network.receptive_field_radius // network.total_stride) * network.total_stride
    whole = max((rows or (ROWS_GPU if gpu else ROWS)) // network.total_stride, 1) * network.total_stride
    shares = RowShares(image, 1 if gpu else min(torch.get_num_threads(), MAX_SHARES), reach, whole)

    def work(stop: Event) -> None:
        while not stop.is_set() and (share := shares.take()) is not None:
            stream, done = StreamingUNet(network, dtype), share.top
            for strip, last in strips(shares, share, scale, network.total_stride):
                strip = strip.pin_memory() if gpu else strip  # copied while the GPU still computes the one before
                strip = strip.to(device, dtype, non_blocking=True)
                found = stream.push(strip[None, None].contiguous(memory_format=CHANNELS_LAST), last)[
                    0, 0, :, : image.shape[1]
                ]
                first, end = max(done, share.first), min(done + len(found), share.stop)
                if first < end:
                    logits[first:end].copy_(found[first - done : end - done], non_blocking=True)
                done += len(found)
                if stop.is_set():
                    return

    run_in_threads(work, shares.threads)
    if gpu:
        torch.cuda.synchronize(device)
    return logits


def strips(shares: RowShares, share: Share, scale: Scale, step: int) -> Iterator[tuple[Tensor, bool]]:
    """Yield the scaled strips of a share, each with a flag; after the image's last rows, (empty strip, True).

    The flag tells the network to flush. Sides that are not multiples of ``step`` are padded with the last row and
    column, as in ``UNet.logits``.
    """
    strip = None
    while (rows := shares.enter(share)) is not None:
        top, strip = rows
        strip = scale(strip, top, 0)
        below, right = -len(strip) % step, -strip.shape[1] % step
        if below or right:
            strip = F.pad(strip[None, None], (0, right, 0, below), mode="replicate")[0, 0]
        yield strip, False
    if strip is not None and not len(share.below):
        yield strip[:0], True


class StreamingUNet:
    """U-Net that is given an image by rows and keeps the earlier rows that it still needs.

    Each layer's output is written once, after ReLU, to the buffer that the next layer reads. A skip connection waits in
    the decoder's input buffer, next to the channels that the upsampled features will fill.
    """

    def __init__(self, network: UNet, dtype: torch.dtype = torch.float32) -> None:
        if has_group_norm(network):
            raise ValueError("group norm depends on the whole image: freeze it first (with_frozen_group_norm)")
        network = fuse_batch_norm(network).to(dtype)
        self.encoder = [StreamingDoubleConv(block) for block in network.encoder]
        self.decoder = [StreamingDoubleConv(block) for block in network.decoder]
        self.gates = [StreamingAttentionGate(gate) for gate in network.gates]
        self.up, self.head = network.up, network.head
        # Last row of each level, if its partner in the pooling is missing.
        self.unpaired_rows: list[Tensor | None] = [None] * len(network.up)

    def push(self, strip: Tensor, last: bool) -> Tensor:
        """Process the next rows (1, 1, R, W) and return the logits (1, 1, R', W) of the rows that are now complete."""
        self.encoder[0].reserve(strip).copy_(strip)
        features = self._level(0, strip.shape[2], last)
        logits: Tensor = self.head(features) if features.shape[2] else features[:, :1]
        return logits

    def _level(self, level: int, new: int, last: bool) -> Tensor:
        """Compute the features (1, C, R, W) that are complete now that this level has ``new`` more rows."""
        x = self.encoder[level].pop_ready(new, last)
        if level == len(self.up):
            return x.relu_()
        decoder = self.decoder[level]
        relu_into(x, decoder.reserve(x)[:, : x.shape[1]])
        pooled = 0
        for part in self._pooled(level, x):
            relu_into(part, self.encoder[level + 1].reserve(part))
            pooled += part.shape[2]
        below = self._level(level + 1, pooled, last)
        ready = 2 * below.shape[2]
        if ready:
            both = decoder.incomplete(ready)
            channels = both.shape[1] // 2
            both[:, channels:] = self.up[level](below)
            if self.gates:
                both[:, :channels] *= self.gates[level](both)
        return decoder.pop_ready(ready, last).relu_()

    def _pooled(self, level: int, x: Tensor) -> Iterator[Tensor]:
        """Yield the pooled rows of ``x``, before their ReLU; a last odd row is kept until its partner comes."""
        unpaired_row = self.unpaired_rows[level]
        if unpaired_row is not None and x.shape[2]:
            yield F.max_pool2d(torch.cat([unpaired_row, x[:, :, :1]], dim=2), 2)
            x, self.unpaired_rows[level] = x[:, :, 1:], None
        even = x.shape[2] // 2 * 2
        if even:
            yield F.max_pool2d(x[:, :, :even], 2)
        else:
            yield x[:, :, :0, ::2]
        if even < x.shape[2]:
            self.unpaired_rows[level] = x[:, :, even:].clone(memory_format=CHANNELS_LAST)


class StreamingDoubleConv:
    """The two convolutions of a block with fused norm, by rows."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, DoubleConv)
        self.first, self.second = StreamingConv2d(block.conv1), StreamingConv2d(block.conv2)

    def reserve(self, like: Tensor) -> Tensor:
        """Reserve the next rows (1, C, R, W) of the input buffer, as many and as wide as those of ``like``."""
        return self.first.reserve(like)

    def incomplete(self, rows: int) -> Tensor:
        """Select the next incomplete rows (1, C, R, W) of the input buffer."""
        return self.first.incomplete(rows)

    def pop_ready(self, new: int, last: bool) -> Tensor:
        """Compute the features (1, C', R', W), before ReLU, that are complete with ``new`` more rows of input."""
        x = self.first.pop_ready(new, last)
        relu_into(x, self.second.reserve(x))
        return self.second.pop_ready(x.shape[2], last)


class StreamingConv2d:
    """3x3 convolution with zero padding, by rows, which wait in a buffer for the rows below them.

    Rows enter the buffer at the bottom and leave it at the top; when its end is reached, the waiting rows are moved to
    its start.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.weight = convolution.weight.contiguous(memory_format=CHANNELS_LAST)
        self.bias = convolution.bias
        self.buffer: Tensor | None = None  # the buffer (1, C, rows, W)
        self.first = self.complete = self.end = 0  # rows of the buffer: first waiting, end of the complete, end of all

    def reserve(self, like: Tensor) -> Tensor:
        """Reserve the next rows (1, C, R, W) of the input buffer, as many and as wide as those of ``like``."""
        rows, width = like.shape[2:]
        if self.buffer is None:
            self._append(1, width).zero_()  # zero padding above the image
            self.complete = 1
        return self._append(rows, width)

    def incomplete(self, rows: int) -> Tensor:
        """Select the first ``rows`` rows that are incomplete: some of their channels are still to be written."""
        assert self.buffer is not None
        return self.buffer[:, :, self.complete : self.complete + rows]

    def pop_ready(self, new: int, last: bool) -> Tensor:
        """Compute the convolution (1, C', R', W) of the rows whose neighbours are all complete.

        Parameters
        ----------
        new : int
            Number of rows that have become complete since the last call.
        last : bool
            Whether these are the last rows of the image.
        """
        assert self.buffer is not None
        self.complete += new
        width = self.buffer.shape[3]
        if last:
            self._append(1, width).zero_()
            self.complete += 1
        top, self.first = self.first, max(self.complete - 2, self.first)
        if top == self.first:
            return self.weight.new_zeros(1, len(self.weight), 0, width)
        return F.conv2d(self.buffer[:, :, top : self.complete], self.weight, self.bias, padding=(0, 1))

    def _append(self, rows: int, width: int) -> Tensor:
        """Reserve ``rows`` rows at the end of the buffer and return them (1, C, R, W)."""
        if self.buffer is None or self.end + rows > self.buffer.shape[2]:
            self._make_room(rows, width)
        assert self.buffer is not None
        self.end += rows
        return self.buffer[:, :, self.end - rows : self.end]

    def _make_room(self, rows: int, width: int) -> None:
        """Move the waiting rows to the start of the buffer, or of a larger one if ``rows`` more would not fit."""
        held = self.end - self.first
        waiting = None if self.buffer is None else self.buffer[:, :, self.first : self.end]
        if self.buffer is None or held + rows > self.buffer.shape[2] or held > self.first:
            size = (1, self.weight.shape[1], 2 * held + rows, width)
            self.buffer = torch.empty(
                size, dtype=self.weight.dtype, device=self.weight.device, memory_format=CHANNELS_LAST
            )
        if waiting is not None:
            self.buffer[:, :, :held] = waiting
        self.first, self.complete, self.end = 0, self.complete - self.first, held


class StreamingAttentionGate:
    """Attention gate whose two arms are one convolution, of skip connection and decoder features as one tensor."""

    def __init__(self, gate: nn.Module) -> None:
        assert isinstance(gate, AttentionGate)
        arms = gate.skip_conv, gate.gate_conv
        self.weight = torch.cat([arm.weight for arm in arms], dim=1).contiguous(memory_format=CHANNELS_LAST)
        assert gate.skip_conv.bias is not None
        assert gate.gate_conv.bias is not None
        self.bias = gate.skip_conv.bias + gate.gate_conv.bias
        self.map = gate.map_conv

    def __call__(self, both: Tensor) -> Tensor:
        """Compute the attention map (1, 1, R, W) of skip connection and decoder features (1, 2 C, R, W)."""
        weights: Tensor = self.map(F.conv2d(both, self.weight, self.bias).relu_()).sigmoid_()
        return weights


def relu_into(x: Tensor, out: Tensor) -> None:
    """Write ReLU of ``x`` into ``out``."""
    if x.numel():
        torch.clamp_min(x, 0, out=out)
