"""Test the figures of masks pixel by pixel."""

import numpy as np
import pytest
from matplotlib import image

from cosmicgate.data.pixel_labels import CORE, IGNORED
from cosmicgate.report.figures import mask_figures
from cosmicgate.report.figures.mask_figures import save_figure
from helpers.mask_scene import labelled_scene


def images_of(figure):
    """Return the images of a figure by their titles."""
    return {axes.get_title(): np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images}


def test_every_pixel_has_the_colour_of_its_outcome(tmp_path):
    scene, truth = labelled_scene()
    mask = np.zeros(truth.shape, bool)
    mask[40:45, 50:55] = mask[10, 10:13] = mask[0, 0] = True
    kinds = list(mask_figures.MASK_COLOURS)
    codes = np.bincount(mask_figures.classify_pixels(truth, mask).ravel())
    assert dict(zip(kinds[1:], codes[1:], strict=True)) == {
        "core, found": 3 * 4,
        "ring, found": 5 * 5 - 3 * 4,
        "core, missed": 3 * 4,
        "ring, missed": 5 * 5 - 3 * 4,
        "false": 3,
        "ignored": 1,
    }
    figure = mask_figures.masks_figure(scene, truth, {"deepCR": mask}, "a scene (simulated)")
    picture = np.rint(255 * image.imread(save_figure(figure, tmp_path / "masks.png"))[..., :3]).astype(int)
    panel = picture[: 3 * picture.shape[0] // 4, 2 * picture.shape[1] // 3 :]  # the third one, without the legend
    for name, colour in mask_figures.MASK_COLOURS.items():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (panel == rgb).all(-1).sum() >= 4 * codes[kinds.index(name)] > 0, f"{name}: 2 x 2 dots a pixel, or more"


def test_the_window_with_most_hits_of_a_large_image_is_shown():
    scene, truth = labelled_scene(300, 400)  # with one large hit
    truth[200:210:3, 300:310:3] = CORE  # several small hits
    panels = images_of(mask_figures.masks_figure(scene, truth, {}, "a scene", window=32))
    assert {panel.shape[:2] for panel in panels.values()} == {(32, 32)}
    assert (panels["truth"] == 1).sum() == 16


def test_false_positives_of_a_detector_do_not_choose_the_window():
    scene, truth = labelled_scene(300, 400)
    noisy = np.zeros(truth.shape, bool)
    noisy[100:300:4, 200::4] = True
    good = truth == CORE
    good[41:44, 51:59] = False  # it misses the hit
    figure = mask_figures.masks_figure(scene, truth, {"noisy": noisy, "good": good}, "a scene", window=32)
    assert images_of(figure)["truth"].any(), "the hit is shown"


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


@pytest.mark.parametrize("place", [(120, 210), (20, 5), (290, 380), (0, 399)])
def test_a_single_hit_is_as_near_to_the_middle_of_the_window_as_the_borders_allow(place):
    truth = np.zeros((300, 400), bool)
    truth[place] = True
    for part, at, side in zip(mask_figures.busiest([truth], 32), place, truth.shape, strict=True):
        assert abs(part.start - min(max(at - 16, 0), side - 32)) <= 1
        assert part.stop - part.start == 32


def test_labels_are_drawn_below_their_exposures_in_the_colours_of_masks():
    scene, truth = labelled_scene(300, 400)
    other = np.where(truth == CORE, IGNORED, 0).astype(np.uint8)
    figure = mask_figures.labels_figure([scene, 2 * scene], [truth, other], "a field (simulated)", window=40)
    panels = images_of(figure)
    assert set(panels) == {"exposure 1", "labels of exposure 1", "exposure 2", "labels of exposure 2"}
    assert {panel.shape[:2] for panel in panels.values()} == {(40, 40)}
    kinds = list(mask_figures.MASK_COLOURS)
    assert {kinds[code] for code in np.unique(panels["labels of exposure 1"])} == {"sky", "core, found", "ring, found"}
    assert {kinds[code] for code in np.unique(panels["labels of exposure 2"])} == {"sky", "ignored"}
