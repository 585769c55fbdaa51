"""Draw real LCO frames with the masks of two detectors: docs/figures/lco_real.png.

Run ``python scripts/show_lco.py FOLDER --weights DIR``, where FOLDER has the three small frames of ``real/lco`` and
DIR the four networks released by the paper's authors. These frames have no truth, so nothing is scored.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.extras import extra

with extra("train", __name__):
    from matplotlib import style
    from matplotlib.figure import Figure

    from cosmicgate.data.lco.amplifiers import read_amplifiers
    from cosmicgate.data.lco.io import exposure_of
    from cosmicgate.detectors.classical import AstroScrappy
    from cosmicgate.detectors.published import load_released_detector
    from cosmicgate.evaluation.frame_results import mask_at
    from cosmicgate.evaluation.records import DetectorRecord
    from cosmicgate.io.fits.frames import Frame, read_frame
    from cosmicgate.io.fits.hdus import open_fits
    from cosmicgate.models import UNet
    from cosmicgate.report.figures.mask_figures import IMAGES, busiest, save_figure
    from cosmicgate.report.stretch import stretch

WINDOW = 200  # side of the part shown, pixels
MARK = (0.84, 0.37, 0.0)  # vermilion of Okabe and Ito
OBJLIM = {"0m4": 0.5, "1m0": 2.0}  # as in the paper


def frames_of(folder: Path) -> dict[str, Frame]:
    """Read the frames to draw, by caption; there is none of a 2m0 telescope."""
    cropped = folder / "1m0_lsc1m005-fl15-20170614-0130-e91_cropped.fits.gz"
    with open_fits(cropped) as hdus:  # only the image, as the bad-pixel map in the file is of the whole CCD
        header, data = hdus[0].header.copy(), np.array(hdus[0].data)
    return {
        "0m4, reduced (2x2 binned)": read_frame(
            folder / "0m4_tfn0m414-kb29-20160625-0060-e91like_banzai_test_frame.fits.fz"
        ),
        "1m0, reduced, cropped": exposure_of(Path(cropped.name[4:]), 1, data, header).frame,
        "1m0, raw, four amplifiers": read_amplifiers(folder / "1m0_elp1m008-fa05-20211007-0042-e00_raw_4amp.fits"),
    }


def to_rgb(image: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Convert an image (H, W) to RGB (H, W, 3), with the pixels of a mask in colour."""
    rgb = stretch(image)
    if mask is not None:
        rgb[mask] = MARK
    return rgb


def figure_of(rows: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """Lay out images with a row for each frame and a column for each detector."""
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(2.2 * columns, 2.45 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), columns)
    for line, (frame, images) in zip(axes, rows.items(), strict=True):
        for axis, (name, image) in zip(line, images.items(), strict=True):
            axis.imshow(image, origin="lower", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(name, fontsize=8)
        line[0].set_title(frame, fontsize=8)
    figure.suptitle("Real LCO frames; pixels called hit in colour. No truth, so nothing is scored.", fontsize=9)
    return figure


def main() -> None:
    """Run the detectors on the frames and draw image and masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True, help="folder of the released networks")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/figures/lco_real.png"))
    options = parser.parse_args()
    network: Any = UNet(norm="group", norm_affine=False, gate=True, gate_norm=True)
    file, model = "Att_Coasmic_CoNN.pth", "Att Cosmic-CoNN"
    attention = load_released_detector(network, options.weights, file, model, "DECam, real", variant="released")
    rows: dict[str, dict[str, NDArray[np.float64]]] = {}
    for caption, frame in frames_of(options.folder).items():
        scrappy = AstroScrappy(objlim=OBJLIM[frame.telescope], dilate_masks=False, threshold=5.0, sweep=())
        masks = {DetectorRecord.of(d).name: mask_at(d.detect(frame), d.threshold) for d in (scrappy, attention)}
        for name, mask in masks.items():
            print(f"{caption}: {name} marks {int(mask.sum())} of {mask.size} px")
        cut = busiest(list(masks.values()), WINDOW)
        rows[caption] = {"image": to_rgb(frame.image[cut], None)}
        rows[caption] |= {name: to_rgb(frame.image[cut], mask[cut]) for name, mask in masks.items()}
    with style.context([*IMAGES, {"figure.dpi": 150, "figure.titleweight": "normal"}]):
        print(save_figure(figure_of(rows), options.output))


if __name__ == "__main__":
    main()
