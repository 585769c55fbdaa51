"""A page without a server has everything in its one file."""

import base64
import json
import re

import numpy as np
import pytest

from cosmicgate.viewer import static
from cosmicgate.viewer.images import Images
from cosmicgate.viewer.static import export
from helpers.mask_command import read_mask, run
from helpers.tiny_model import hit, sky
from helpers.viewer import write_sky

SHAPE = (64, 80)


def content_of(text):
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.S)[1])


def test_view_shows_an_array_in_a_notebook(masker, tmp_path):
    view = masker.view(sky(SHAPE), threshold=0.7, grow=1)
    assert view._repr_html_().startswith("<iframe")
    (detail,) = content_of(view.text)["details"]
    assert (detail["threshold"], detail["grow"]) == (0.7, 1)
    view.save(tmp_path / "hits.html")
    assert (tmp_path / "hits.html").read_text() == view.text


def test_the_cleaned_values_are_those_of_the_mask(masker):
    image = sky(SHAPE)
    (detail,) = content_of(masker.view(image).text)["details"]
    assert detail["cleaned"]["of"] == "the threshold 0.5, grown by 0 px"
    index = np.frombuffer(base64.b64decode(detail["cleaned"]["index"]), "<u4")
    assert np.array_equal(index, np.flatnonzero(hit(SHAPE)))


def faint_sky():
    """Simulate sky with hits whose probability is between 1e-4 and 1e-2, far below the thresholds of the card."""
    image = sky(SHAPE)
    image[20, 10:70:6] += 25
    return image


def assert_shows_the_mask(detail, mask):
    for key in ("cleaned", "candidates"):
        assert np.array_equal(np.frombuffer(base64.b64decode(detail[key]["index"]), "<u4"), np.flatnonzero(mask))


def test_a_threshold_below_those_of_the_card_shows_the_whole_mask(masker):
    image, threshold = faint_sky(), 1e-4
    mask = masker.mask(image, threshold)
    assert mask.sum() > masker.mask(image, 0.01).sum()
    (detail,) = content_of(masker.view(image, threshold=threshold).text)["details"]
    assert_shows_the_mask(detail, mask)


def test_a_file_masked_at_a_threshold_below_those_of_the_card_shows_the_whole_mask(masker, model, tmp_path):
    write_sky(tmp_path / "a.fits", faint_sky())
    assert run("mask", tmp_path / "a.fits", "-m", model, "--threshold", 1e-4).exit_code == 0
    (detail,) = content_of(export(Images([tmp_path / "a.fits"], None, masker), lambda *_: None).text)["details"]
    assert_shows_the_mask(detail, read_mask(tmp_path / "a_crmask.fits"))


def test_an_image_with_too_many_candidates_says_from_which_threshold_they_are_shown(masker, monkeypatch):
    monkeypatch.setattr("cosmicgate.viewer.candidates.MAX_CANDIDATES", 4)
    (detail,) = content_of(masker.view(faint_sky(), threshold=1e-4).text)["details"]
    assert detail["threshold"] == detail["candidates"]["floor"] > 1e-4
    assert_shows_the_mask(detail, hit(SHAPE))


def test_names_of_files_cannot_end_the_script_of_the_page():
    about = {"file": "</script><b>", "hdu": 0, "label": "", "shape": [8, 8], "searchable": True}
    text = static.page({"images": [about]}, "<i>")
    assert "</script><b>" not in text
    assert content_of(text)["images"] == [about]
    assert "<title>&lt;i>" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grow": -1}, "grow=-1: expected a whole number of pixels, 0 or more"),
        ({"threshold": 2.0}, "threshold=2.0: expected a probability between 0 and 1"),
        ({"image": np.zeros((2, 40, 40))}, r"expected one image \(H, W\) to show, got \(2, 40, 40\)"),
        ({"image": np.zeros((5000, 5000), np.uint8)}, "too large for a page in one file .25 megapixels"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(masker, arguments, message):
    with pytest.raises(ValueError, match=message):
        masker.view(**({"image": sky(SHAPE)} | arguments))
