"""Test by random and damaged files that each is masked, or refused with one line, and never left partial."""

import gzip
from itertools import count

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosmicgate.io.fits.hdus import pixels
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from helpers.tiny_model import sky

SHAPE = (24, 32)
TYPES = ("u1", "<u2", "<i2", ">i4", "<u4", "<f4", ">f4", "<f8")
quick = settings(max_examples=30, deadline=None, derandomize=True)
NUMBERS = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fits")


def mask_and_check(path, masker, options=MaskOptions("clean", cleaned=True)):  # noqa: B008 (a frozen dataclass)
    """Mask a file; check that the output is complete or missing, and that an error has one line; return both."""
    output = path.with_name(f"{next(NUMBERS)}.out.fits")
    outcome = mask_file(path, output, masker, options)
    assert not list(path.parent.glob(".*"))
    assert output.exists() == (outcome.status == "done")
    if outcome.status == "failed":
        assert outcome.error.startswith(str(path)) or str(path) in outcome.error
        assert "\n" not in outcome.error
    else:
        with fits.open(output, checksum=True) as hdus:
            hdus.verify("exception")
            assert any(hdu.name.endswith("CRMASK") for hdu in hdus)
    return outcome, output


def primary_hdu(data, **cards):
    """List a primary HDU with data and header cards."""
    return [fits.PrimaryHDU(data, fits.Header(cards))]


CASES = {  # name: HDUs, number of searched images (0: the file is refused), part of the error or of the warning
    "one dimension": (primary_hdu(np.ones(100, "f4")), 0, "found only PRIMARY (100,)"),
    "empty": (primary_hdu(None), 0, "found only PRIMARY"),
    "a table": ([fits.PrimaryHDU(), fits.BinTableHDU(np.zeros(3, [("x", "f4")]))], 0, "found only PRIMARY"),
    "a cube": (primary_hdu(np.ones((3, 24, 32), "f4")), 0, "found only PRIMARY (3, 24, 32)"),
    "a cube of one plane": (primary_hdu(sky(SHAPE)[None]), 1, ""),
    "NaN only": (primary_hdu(np.full(SHAPE, np.nan, "f4")), 0, "pixels are bad or not finite"),
    "constant": (primary_hdu(np.full(SHAPE, 7, ">i2")), 1, ""),
    "negative": (primary_hdu(sky(SHAPE) - 5000), 1, ""),
    "saturated": (primary_hdu(np.full(SHAPE, 65535, "u2"), SATURATE=60000.0), 1, "more than half of the image"),
    "infinite": (primary_hdu(np.where(np.eye(24, 32) > 0, np.inf, sky(SHAPE))), 1, ""),
    "tiny": (primary_hdu(np.ones((5, 90), "f4")), 0, "expected at least 8x8 pixels"),
    "tiny beside a good one": ([*primary_hdu(np.ones((5, 9), "f4")), fits.ImageHDU(sky(SHAPE))], 1, "not searched"),
    "a cube beside a good one": ([*primary_hdu(np.ones((3, 24, 32), "f4")), fits.ImageHDU(sky(SHAPE))], 1, ""),
    "a mask of another shape": (
        [*primary_hdu(sky(SHAPE)), fits.ImageHDU(np.ones((3, 4), "u1"), name="DQ")],
        1,
        "it is not used",
    ),
    "all bad": (
        [*primary_hdu(sky(SHAPE)), fits.ImageHDU(np.ones(SHAPE, "u1"), name="DQ")],
        0,
        "pixels are bad or not finite",
    ),
    "an error of another shape": ([*primary_hdu(sky(SHAPE)), fits.ImageHDU(np.ones((3, 4)), name="ERR")], 1, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_unusual_files_are_masked_or_refused(folder, masker, case):
    hdus, images, message = CASES[case]
    path = folder / f"{case}.fits"
    fits.HDUList(hdus).writeto(path)
    outcome, output = mask_and_check(path, masker)
    assert (outcome.status, outcome.images) == ("done" if images else "failed", images), outcome
    assert message in " ".join([outcome.error, *outcome.warnings])
    if case == "a cube of one plane":
        with fits.open(output) as out:
            assert out[0].data.shape == (1, *SHAPE)


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".fits.fz"])
@pytest.mark.parametrize("damage", ["truncated", "wrong BITPIX", "text", "empty"])
def test_damaged_files_are_refused(folder, masker, ending, damage):
    path = folder / f"{damage}{ending}"
    hdu = (fits.CompImageHDU if ending == ".fits.fz" else fits.ImageHDU)(sky((60, 80)), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / "whole.fits", overwrite=True)
    content = (folder / "whole.fits").read_bytes()
    content = {
        "truncated": content[: len(content) - 4000],
        "wrong BITPIX": content[:2880] + content[2880:].replace(b"BITPIX  =  ", b"BITPIX  = 7", 1),
        "text": b"night log\n" * 500,
        "empty": b"",
    }[damage]
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    assert mask_and_check(path, masker)[0].status == "failed"


@st.composite
def images(draw):
    """Draw images of odd shapes and many types, with NaN, infinities and huge values."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shape = (draw(st.integers(8, 40)), draw(st.integers(8, 40)))
    if dtype.kind != "f":
        return draw(hnp.arrays(dtype, shape))
    special = st.sampled_from((0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 1e-40))
    values = st.floats(width=8 * dtype.itemsize, allow_subnormal=False) | special.map(dtype.type)
    return draw(hnp.arrays(dtype, shape, elements=values.map(float), fill=st.just(100.0)))


@pytest.mark.slow
@quick
@given(image=images(), packed=st.sampled_from(("", "GZIP_2", "RICE_1")))
def test_any_image_is_cleaned_at_masked_pixels_only(folder, masker, image, packed):
    path = folder / f"{next(NUMBERS)}.fits"
    kind = dict(compression_type=packed, quantize_level=0) if packed == "GZIP_2" or image.dtype.kind == "f" else {}
    kind = kind and kind | {"compression_type": "GZIP_2"}
    hdu = fits.CompImageHDU(image, name="SCI", **kind) if packed else fits.ImageHDU(image, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    outcome, output = mask_and_check(path, masker)
    if outcome.status == "failed":
        assert "pixels are bad or not finite" in outcome.error
        return
    with fits.open(path) as old, fits.open(output) as new:
        hits = new["SCI_CRMASK"].data.astype(bool)
        before, after = pixels(old["SCI"]), pixels(new["SCI"])
        np.testing.assert_array_equal(after[~hits], before[~hits])
        assert np.isfinite(before[hits]).all()


@quick
@given(where=st.integers(0, 20_000), value=st.integers(0, 255), cut=st.booleans(), packed=st.booleans())
@pytest.mark.filterwarnings("ignore")  # astropy warns of damaged cards
def test_a_damaged_byte_or_a_cut_never_leaves_a_partial_file(folder, masker, where, value, cut, packed):
    hdu = (fits.CompImageHDU if packed else fits.ImageHDU)(sky((40, 60)), name="SCI")
    path = folder / f"{next(NUMBERS)}.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(np.ones((40, 60), "u1"), name="WHT")]).writeto(path)
    content = bytearray(path.read_bytes())
    where %= len(content)
    content[where] = value
    path.write_bytes(content[:where] if cut else content)
    output = path.with_name("out.fits")
    outcome = mask_file(path, output, masker, MaskOptions("clean", cleaned=True), overwrite=True)
    assert not list(folder.glob(".*"))
    if outcome.status == "failed":
        assert str(path) in outcome.error
        assert "\n" not in outcome.error
