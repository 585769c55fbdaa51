"""Compute the logits of whole frames: the one way from an image with bad pixels to the output of a network."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cosmicgate.data.bad_pixels import interpolate_bad_pixels, scale_to_float32_range
from cosmicgate.inference.background_grid import scale_of
from cosmicgate.inference.cascade import NO_HIT_LOGIT, Cascade, cascade_logits
from cosmicgate.inference.frozen_group_norm import with_frozen_group_norm
from cosmicgate.inference.fuse_batch_norm import has_group_norm
from cosmicgate.inference.onnx_runtime import OnnxModel, onnx_logits
from cosmicgate.inference.precision import DTYPES, Precision
from cosmicgate.inference.streaming import streamed_logits
from cosmicgate.inference.tiling import tiled_logits
from cosmicgate.models.unet import UNet

MAX_COUNTS = 1e30  # counts: a larger value would overflow in the network and spoil its neighbours too
TILE = 256  # px: tiles of networks that are no UNet, unless another size is given
Procedure = Callable[[nn.Module, Tensor], Tensor]  # (network, image (H, W)) -> logits (H, W)


@dataclass(frozen=True)
class Predictor:
    """A network, and how it is applied to a frame of any size.

    By default a :class:`~cosmicgate.models.unet.UNet` sees the frame as a whole, streamed by rows: sky level and noise
    vary across it (:class:`~cosmicgate.inference.background_grid.BackgroundGrid`), and group norm has the statistics of
    the frame (:mod:`cosmicgate.inference.frozen_group_norm`). At most one of ``tile``, ``cascade``, ``onnx`` and
    ``procedure`` replaces that.

    Attributes
    ----------
    network : Module
        Network in evaluation mode that maps images (N, 1, H, W) to logits, on the device to compute on.
    tile : int, optional
        Side of the tiles that the frame is cut into, px; each is scaled by its own sky (256 with ``halo=0``: the
        paper's patches). A network that is no UNet is always given tiles, of 256 px unless this says otherwise.
    halo : int
        Overlap of the tiles, px (:func:`~cosmicgate.inference.tiling.tiled_logits`).
    precision : {"float32", "bfloat16", "float16"}
        Floating-point type to compute in. bfloat16 changes probabilities by about 0.01 and is faster on processors that
        have it; float16 changes them by about 0.001 and is faster on GPUs.
    cascade : Cascade, optional
        Coarse stage that selects the cells of the frame which the network searches.
    onnx : OnnxModel, optional
        The same network in onnxruntime, which computes instead of torch.
    procedure : callable, optional
        Function of (network, image) that applies the network as its authors do.
    """

    network: nn.Module
    tile: int | None = None
    halo: int = 0
    precision: Precision = "float32"
    cascade: Cascade | None = None
    onnx: OnnxModel | None = None
    procedure: Procedure | None = None

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other.

        Raises
        ------
        ValueError
            The precision is unknown or not available, or the settings exclude each other.
        """
        if self.precision not in DTYPES:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {', '.join(DTYPES)}")
        ways = [name for name in ("tile", "cascade", "onnx", "procedure") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)}: expected one of them, as each says how a frame is searched")
        if self.onnx is not None and self.precision != "float32":
            raise ValueError(f"precision={self.precision!r}: onnxruntime computes in float32")

    @property
    def on_gpu(self) -> bool:
        """Whether the network computes on a GPU."""
        return next(self.network.parameters()).is_cuda

    def to(self, device: str) -> "Predictor":
        """Copy the predictor with its networks on a device."""
        cascade = self.cascade and replace(self.cascade, network=deepcopy(self.cascade.network).to(device))
        return replace(self, network=deepcopy(self.network).to(device), cascade=cascade)

    def logits(self, image: NDArray[Any], bad: NDArray[np.bool_] | None = None) -> Tensor:
        """Compute the logits of a frame.

        Parameters
        ----------
        image : ndarray (H, W), counts
            Frame of any numeric type and byte order. It is not modified.
        bad : ndarray (H, W), bool, optional
            Bad pixels, in addition to those that are not finite. They are interpolated for the network and left out of
            the measurement of sky level and noise.

        Returns
        -------
        Tensor (H, W), float32
            Logits on the CPU; :data:`~cosmicgate.inference.cascade.NO_HIT_LOGIT` at bad pixels.

        Raises
        ------
        ValueError
            The image has no good pixel, or the network returns NaN.
        """
        return self.logits_of_prepared(*self.prepare(image, bad))

    def prepare(
        self, image: NDArray[Any], bad: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Copy an image (H, W) to float32, interpolate its bad pixels, and add those that are not finite to ``bad``.

        Counts too large or too small for float32 are multiplied by a power of two if the network measures the sky
        itself, so that the unit does not matter to it.
        """
        bad = np.zeros(image.shape, bool) if bad is None else bad
        if isinstance(self.network, UNet) and self.network.scaling == "robust":
            image = scale_to_float32_range(image, bad)
        filled, bad = interpolate_bad_pixels(image, bad)
        np.clip(filled, -MAX_COUNTS, MAX_COUNTS, out=filled)
        return filled, bad

    @torch.inference_mode()
    def logits_of_prepared(self, image: NDArray[np.float32], bad: NDArray[np.bool_]) -> Tensor:
        """Compute the logits of an image from :meth:`prepare`; its memory may be overwritten by the logits."""
        bad_tensor = torch.from_numpy(bad)
        logits = self._network_logits(torch.from_numpy(image), bad_tensor).masked_fill_(bad_tensor, NO_HIT_LOGIT)
        if torch.isnan(logits).any():  # NaN is below every threshold: the mask would be empty
            raise ValueError("the network returned NaN for this image: are its weights damaged or too large?")
        return logits

    def _network_logits(self, image: Tensor, bad: Tensor) -> Tensor:
        if self.procedure is not None:
            return self.procedure(self.network, image)
        dtype = DTYPES[self.precision]
        if self.tile is not None or not isinstance(self.network, UNet):
            device = next(self.network.parameters()).device
            excluded = bad if isinstance(self.network, UNet) else None
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return tiled_logits(self.network, image.to(device), self.tile or TILE, self.halo, bad=excluded)
        if self.cascade is not None:
            return cascade_logits(self.network, self.cascade, image, dtype, bad)
        if self.onnx is not None:
            return onnx_logits(self.onnx, self.network, image, bad)
        scale = scale_of(self.network.scaling, image, bad)
        network = self.network
        if has_group_norm(network):
            network = with_frozen_group_norm(network, image, scale, bad)
        return streamed_logits(network, image, scale, dtype=dtype, overwrite=True)
