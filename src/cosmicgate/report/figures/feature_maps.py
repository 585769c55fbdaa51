"""Record and draw the feature maps of a network's layers, and the weights of its attention gates."""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeGuard

import numpy as np
import torch
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from cosmicgate.data.pixel_labels import CORE, RING
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.inference.tiling import GRID
from cosmicgate.io.fits.frames import Frame
from cosmicgate.models.layers import AttentionGate
from cosmicgate.models.unet import UNet
from cosmicgate.report.figures.mask_figures import IMAGES, WIDTH, show_panel
from cosmicgate.report.stretch import stretch

Maps = NDArray[np.float32]
COLUMNS = 6  # channels shown of each layer: those with the highest standard deviation


@dataclass
class FeatureMaps:
    """Hold the feature maps of one image: level 1 at full resolution, each further level at half of the one before.

    Attributes
    ----------
    layers : dict of str to ndarray (C, h, w), float32
        Layer -> its output, in the order of the forward pass.
    attention : dict of int to ndarray (h, w), float32
        Level -> weights, 0 to 1, by which its gate multiplies the encoder's maps; empty without gates.
    logits : ndarray (H, W), float32
        Output of the detector.
    """

    layers: dict[str, Maps] = field(default_factory=dict)
    attention: dict[int, Maps] = field(default_factory=dict)
    logits: Maps = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def has_features(detector: object) -> TypeGuard[NetworkDetector]:
    """Return True if a detector's network is a :class:`~cosmicgate.models.unet.UNet`."""
    return isinstance(detector, NetworkDetector) and isinstance(detector.predictor.network, UNet)


def feature_maps(detector: NetworkDetector, frame: Frame) -> FeatureMaps:
    """Run a detector on a frame of one tile and record the maps of its network, cropped to the frame.

    The predictor's preprocessing (scaling, padding below and to the right) is applied. A predictor that streams rows,
    or searches cells by a cascade, processes the frame as one tile here, so that each layer has a single map.
    """
    predictor, maps = detector.predictor, FeatureMaps()
    if predictor.tile is None and predictor.procedure is None:
        predictor = replace(predictor, cascade=None, tile=-(-max(frame.shape) // GRID) * GRID)

    def record(name: str, level: int, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        height, width = (-(-side // 2 ** (level - 1)) for side in frame.shape)
        maps.layers.setdefault(name, output[0, :, :height, :width].float().cpu().numpy())
        if isinstance(module, AttentionGate):
            with torch.inference_mode():
                attention = module.attention(*inputs)
            maps.attention.setdefault(level, attention[0, 0, :height, :width].float().cpu().numpy())

    with ExitStack() as hooks:
        for part, name in (("encoder", "encoder"), ("gates", "gated skip"), ("decoder", "decoder")):
            for level, block in enumerate(getattr(predictor.network, part), start=1):
                hooks.enter_context(block.register_forward_hook(partial(record, f"{name} {level}", level)))
        maps.logits = predictor.logits(frame.image, frame.bad).numpy()
    return maps


def features_figure(image: NDArray[np.float32], truth: NDArray[np.uint8], maps: FeatureMaps, title: str) -> Figure:
    """Draw image, truth and probability, then a row for each layer: mean and most variable channels.

    Every map has its own scale, from its 1st to its 99.5th percentile.
    """
    with style.context(IMAGES):
        figure = Figure(figsize=(WIDTH, 0.4 + 1.12 * (1 + len(maps.layers))), layout="constrained")
        panels = figure.subplots(1 + len(maps.layers), COLUMNS + 1, squeeze=False)
        show_panel(panels[0, 0], stretch(image), "image")
        show_panel(panels[0, 1], np.isin(truth, (CORE, RING)), "truth", vmin=0, vmax=1)
        show_panel(panels[0, 2], 1 / (1 + np.exp(-maps.logits)), "probability", vmin=0, vmax=1)
        for row, (name, found) in zip(panels[1:], maps.layers.items(), strict=True):
            selected = np.argsort(found.std(axis=(1, 2)), kind="stable")[::-1][:COLUMNS]
            shown = {"mean": found.mean(axis=0)} | {f"channel {k + 1}": found[k] for k in selected}
            for axes, (which, values) in zip(row, shown.items(), strict=False):
                low, high = np.percentile(values, [1, 99.5])
                show_panel(axes, values, which, vmin=low, vmax=max(high, low + 1e-6))
            row[0].set_ylabel(f"{name}\n{' x '.join(str(n) for n in found.shape)}", fontsize=6.5)
        for axes in panels.flat:
            axes.set_visible(bool(axes.images))
        figure.suptitle(title)
        return figure


def attention_figure(image: NDArray[np.float32], truth: NDArray[np.uint8], maps: FeatureMaps, title: str) -> Figure:
    """Draw the image with its truth outlined, and the attention of each gate overlaid on it."""
    with style.context(IMAGES):
        figure = Figure(figsize=(WIDTH, 2.75), layout="constrained")
        panels = figure.subplots(1, 1 + len(maps.attention), squeeze=False)[0]
        for axes in panels:
            show_panel(axes, stretch(image), "image, truth outlined")
        hits = np.isin(truth, (CORE, RING)).astype(float)
        if hits.any():
            panels[0].contour(hits, levels=[0.5], colors="#D55E00", linewidths=0.6)
        for axes, (level, values) in zip(panels[1:], maps.attention.items(), strict=True):
            step = 2 ** (level - 1)
            fine = values.repeat(step, 0).repeat(step, 1)[: image.shape[0], : image.shape[1]]
            low, high = np.percentile(fine, [0.5, 99.5])
            limits = {"vmin": low, "vmax": max(high, low + 1e-3)}
            drawn = show_panel(axes, fine, f"attention at level {level}", alpha=0.75, **limits)
            figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02).ax.tick_params(labelsize=7)
        figure.suptitle(title)
        return figure
