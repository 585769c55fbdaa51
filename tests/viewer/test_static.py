"""A page without a server has everything in its one file."""

import base64
import json
import re

import numpy as np
import pytest

from cosmicgate.viewer import static
from helpers.tiny_model import hit, sky

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
