"""Draw the figure of the README: part of a real frame, its hits by the general network, and the cleaned image.

python scripts/readme_figure.py real=DIR docs/figures/real_frame.png
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.visualization import ZScaleInterval

from cosmicgate.extras import extra

with extra("train", __name__):
    from hydra import compose, initialize_config_dir
    from matplotlib.figure import Figure

    import cosmicgate
    from cosmicgate.config import build, report_user_errors

CONF = Path(__file__).resolve().parents[1] / "conf"
FRAME = "XO1-b_z_20250602_041008"  # ARCSAT 0.5 m, z band, 60 s, minus a median dark; not trained on
ROWS, COLUMNS = slice(395, 575), slice(784, 1024)  # a long track, stars


@report_user_errors()
def main() -> None:
    """Mask and clean the frame, and draw the three panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", help="real=DIR, the folder that holds arcsat/")
    parser.add_argument("output", type=Path, help="the PNG to write")
    options = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("evaluate", ["data=real_arcsat", options.real])
    lazy_frames = build(cfg.data.frames).lazy_labelled_frames()
    frame = next(lazy for lazy in lazy_frames if lazy.name == FRAME).build()[0]
    hits = cosmicgate.load().mask(frame.image, bad=frame.bad)
    cleaned = cosmicgate.clean(frame.image, hits, bad=frame.bad)

    image, hits, cleaned = (plane[ROWS, COLUMNS] for plane in (frame.image, hits, cleaned))
    low, high = ZScaleInterval().get_limits(image)
    figure = Figure(figsize=(9.6, 2.7), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3)
    scale = {"vmin": low, "vmax": low + 2.5 * (high - low), "cmap": "gray"}
    titles = ("exposure", "hits", "cleaned")
    for panel, plane, title in zip(panels, (image, image, cleaned), titles, strict=True):
        panel.imshow(plane, origin="lower", interpolation="nearest", **scale)
        panel.set(title=title, xticks=[], yticks=[])
    red = np.ma.masked_where(~hits, np.ones(hits.shape))
    panels[1].imshow(red, origin="lower", cmap="autumn", vmin=1, vmax=2, interpolation="nearest")
    figure.savefig(options.output)


if __name__ == "__main__":
    main()
