"""Draw simulated hits beside real ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cosmicgate.data.simulation.itl_hits import Stamp, hit_features

QUANTITIES = {
    "pixels": "pixels per hit",
    "charge": "charge per hit (e$^-$)",
    "elongation": "length / width",
}
# Blue and vermilion of Okabe and Ito.
REAL: dict[str, Any] = {"color": "#0072B2", "alpha": 0.45}
SIMULATED: dict[str, Any] = {"color": "#D55E00", "histtype": "step", "linewidth": 2}
COLUMNS, SIDE = 14, 24  # gallery: number of hits in a row, side of each in pixels


def hits_figure(samples: Mapping[str, Sequence[Stamp]], rng: np.random.Generator) -> Figure:
    """Draw histograms of QUANTITIES, and a row of random hits (electrons) of each sample.

    The kind "real" is drawn filled and blue, any other as a vermilion line. ``rng`` chooses the hits that are shown.
    """
    figure = Figure(figsize=(11, 3.6 + 0.8 * len(samples)), dpi=110, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.6, 0.8 * len(samples)), squeeze=False)[:, 0]
    measured = {kind: hit_features(hits) for kind, hits in samples.items()}
    panels = top.subplots(1, len(QUANTITIES))
    for axes, (name, quantity) in zip(panels, QUANTITIES.items(), strict=True):
        low, high = np.percentile(np.concatenate([sample[name] for sample in measured.values()]), (0, 99.8))
        bins = np.geomspace(low, high, 25).tolist()
        for kind, sample in measured.items():
            number, bar_style = sample[name].size, REAL if kind == "real" else SIMULATED
            axes.hist(sample[name], bins, weights=np.full(number, 1 / number), label=f"{kind} ({number})", **bar_style)
        axes.set(xscale="log", xlabel=quantity)
    panels[0].set_ylabel("fraction of hits")
    panels[-1].legend(frameon=False)
    gallery = bottom.subplots(len(samples), COLUMNS, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for row, (kind, hits) in zip(gallery, samples.items(), strict=True):
        fitting = [hit for hit in hits if max(hit.shape) <= SIDE - 2 and np.count_nonzero(hit) >= 6]
        chosen = rng.permutation(len(fitting))[:COLUMNS]
        for axes, number in zip(row, chosen, strict=False):
            spare = SIDE - np.array(fitting[number].shape)
            framed = np.pad(fitting[number], np.stack([spare // 2, spare - spare // 2], axis=1).tolist())
            scaled = np.arcsinh(framed / 100)
            axes.imshow(scaled, cmap="cividis", vmin=0, vmax=np.arcsinh(60), origin="lower")
        row[0].set_ylabel(kind)
    return figure
