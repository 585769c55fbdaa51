"""Test the figures of masks pixel by pixel."""

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from cosmicgate.data.pixel_labels import CORE
from cosmicgate.report.figures import mask_figures
from cosmicgate.report.figures.mask_figures import save_figure
from helpers.mask_scene import labelled_scene


def test_every_pixel_has_the_colour_of_its_outcome(tmp_path):
    scene, truth = labelled_scene()
    mask = np.zeros(truth.shape, bool)
    mask[40:45, 50:55] = mask[10, 10:13] = mask[0, 0] = True
    path = save_figure(
        mask_figures.masks_figure(scene, truth, {"deepCR": mask}, "a scene (simulated)"), tmp_path / "masks.png"
    )
    picture = np.rint(255 * image.imread(path)[..., :3]).astype(int)
    scale = 7  # 512 / 80, rounded up
    left, bottom = 18 + 2 * (80 * scale + 18), 130  # the third panel, above a legend of two lines
    panel = picture[-bottom - 60 * scale : -bottom, left : left + 80 * scale]
    rgb = {name: [int(code[i : i + 2], 16) for i in (1, 3, 5)] for name, code in mask_figures.MASK_COLOURS.items()}
    count = {name: int((panel == colour).all(-1).sum()) / scale**2 for name, colour in rgb.items()}
    assert count == {
        "core, found": 3 * 4,
        "ring, found": 5 * 5 - 3 * 4,
        "core, missed": 3 * 4,
        "ring, missed": 5 * 5 - 3 * 4,
        "false": 3,
        "ignored": 1,
    }


def test_the_window_with_most_hits_of_a_large_image_is_shown(tmp_path, monkeypatch):
    scene, truth = labelled_scene(300, 400)  # with one large hit
    truth[200:210:3, 300:310:3] = CORE  # several small hits
    seen = {}
    monkeypatch.setattr(mask_figures, "_panels_figure", lambda shown, *_, **__: seen.update(shown) or Figure())
    mask_figures.masks_figure(scene, truth, {}, "a scene", window=32)
    assert {panel.shape for panel in seen.values()} == {(32, 32, 3)}
    assert (seen["truth"] < 1).all(-1).sum() == 16


def test_false_positives_of_a_detector_do_not_choose_the_window(monkeypatch):
    scene, truth = labelled_scene(300, 400)
    noisy = np.zeros(truth.shape, bool)
    noisy[100:300:4, 200::4] = True
    good = truth == CORE
    good[41:44, 51:59] = False  # it misses the hit
    seen = {}
    monkeypatch.setattr(mask_figures, "_panels_figure", lambda shown, *_, **__: seen.update(shown) or Figure())
    mask_figures.masks_figure(scene, truth, {"noisy": noisy, "good": good}, "a scene", window=32)
    assert (seen["truth"] < 1).any(), "the hit is shown"


def test_an_empty_scene_with_bad_pixels_is_drawn(tmp_path):
    scene = np.full((20, 30), np.nan)
    scene[5:] = 7.0
    path = save_figure(
        mask_figures.masks_figure(scene, np.zeros((20, 30), np.uint8), {}, "nothing"), tmp_path / "masks.png"
    )
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_mask_of_another_shape_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"deepCR has the shape \(3, 3\), expected the image's \(60, 80\)"):
        save_figure(
            mask_figures.masks_figure(*labelled_scene(), {"deepCR": np.zeros((3, 3), bool)}, "a scene"),
            tmp_path / "masks.png",
        )
