"""Test that hits are written into the quality plane of a file with the flag of its pipeline, and nothing else."""

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from helpers.fits_files import hdu_bytes
from helpers.mask_command import output_text, run
from helpers.tiny_model import hit, sky

SHAPE = (48, 64)
HIT = hit(SHAPE)


def flags(dtype=np.int16, value=1):
    """Make flags (H, W), none of which is on a hit."""
    values = np.zeros(SHAPE, dtype)
    values[::7, ::5] = value
    values[HIT] = 0
    return values


def write_exposure(path, quality, name="DQ", packed="", of_plane=None, **cards):
    """Write an image, a table and a quality plane; return the path."""
    kind = dict(compression_type=packed) if packed else {}
    plane = (fits.CompImageHDU if packed else fits.ImageHDU)(quality, fits.Header(of_plane or {}), name=name, **kind)
    image = fits.ImageHDU(sky(SHAPE), name="SCI")
    table = fits.BinTableHDU(np.ones(3, [("x", "f4")]), name="CAT")
    fits.HDUList([fits.PrimaryHDU(None, fits.Header(cards)), image, table, plane]).writeto(path, checksum=True)
    return path


def flagged_plane(path, masker, bit, kind="append", **wanted):
    """Set the flag of hits in a file; return the quality plane (H, W)."""
    output = path if kind == "in-place" else path.with_name("out.fits")
    outcome = mask_file(path, output, masker, MaskOptions(kind, bit=bit, **wanted), overwrite=True)
    assert outcome.status == "done", outcome.error
    with fits.open(output, checksum=True) as hdus:
        hdus.verify("exception")
        return np.array(hdus[3].data)


def error_message(path, masker, bit):
    """Return the error, after a check that it has one line and nothing was written."""
    outcome = mask_file(path, path.with_name("none.fits"), masker, MaskOptions("append", bit=bit))
    assert outcome.status == "failed"
    assert not path.with_name("none.fits").exists()
    assert outcome.error.startswith(str(path))
    assert "\n" not in outcome.error
    return outcome.error


KNOWN = {  # option --set-bit, cards of the file, of its plane, present flags, value of a hit
    "HST": ("HST", {"TELESCOP": "HST"}, {}, flags(np.int16, 16), 4096),
    "JWST": ("JWST", {"TELESCOP": "JWST"}, {}, flags(np.uint32, 2**31 + 1), 4),
    "DECam, codes": ("DECAM", {"INSTRUME": "DECam", "PLVER": "V4.8.2a"}, {}, flags(np.int32, 7), 5),
    "DECam, bits": ("DECAM", {"INSTRUME": "DECam", "PLVER": "V3.1"}, {}, flags(np.int32, 2), 16),
    "DECam, bits by their values": ("DECAM", {"INSTRUME": "DECam", "PLVER": "V3.9"}, {}, flags(np.int32, 64), 16),
    "DECam, by number": ("5", {"INSTRUME": "DECam"}, {}, flags(np.uint8, 7), 5),
    "BANZAI": ("BANZAI", {"TELID": "1m0a"}, {}, flags(np.uint8, 1), 8),
    "Gemini": ("GEMINI", {"TELESCOP": "Gemini-South"}, {}, flags(np.uint16, 16), 8),
    "Rubin": ("RUBIN", {}, {"MP_BAD": 0, "MP_CR": 3}, flags(np.int32, 32), 8),
    "Rubin, another bit": ("RUBIN", {}, {"MP_CR": 6}, flags(np.int32, 32), 64),
    "by number": ("2", {}, {}, flags(np.uint8, 128), 2),
    "highest bit": ("32768", {}, {}, flags(np.uint16, 1), 32768),
}


@pytest.mark.parametrize("packed", ["", "RICE_1", "GZIP_1", "PLIO_1"])
@pytest.mark.parametrize("case", KNOWN)
def test_hits_get_the_bit_of_the_pipeline_and_nothing_else_changes(masker, tmp_path, case, packed):
    bit, cards, of_plane, quality, value = KNOWN[case]
    if packed == "PLIO_1" and quality.max(initial=0) >= 2**24:
        pytest.skip("PLIO_1 holds 24 bits")
    quality = quality.astype(np.int16) if packed == "PLIO_1" and quality.dtype.kind == "u" else quality
    if value > np.iinfo(quality.dtype).max:
        pytest.skip("PLIO_1 of astropy is signed")
    path = write_exposure(tmp_path / "a.fits", quality, packed=packed, of_plane=of_plane, **cards)
    after = flagged_plane(path, masker, bit)
    assert after.dtype.newbyteorder("=") == quality.dtype
    np.testing.assert_array_equal(after, np.where(HIT, value, quality))
    before, out = hdu_bytes(path), hdu_bytes(tmp_path / "out.fits")
    assert out[:3] == before[:3]
    header = fits.getheader(tmp_path / "out.fits", 3)
    assert (header["CRBIT"], header["CRHITPIX"]) == (value, 4)
    assert f"4 pixels hit by cosmic rays, {value} set in 4" in "".join(header["HISTORY"])


@pytest.mark.parametrize("kind", ["append", "clean", "in-place"])
def test_present_flags_are_kept_in_every_kind_of_output(masker, tmp_path, kind):
    quality = flags(np.int16, 16)
    quality[HIT] = [256, 4096, 4096 + 256, 0]  # saturated or flagged as hits: searched too
    path = write_exposure(tmp_path / "a.fits", quality, TELESCOP="HST")
    after = flagged_plane(path, masker, "HST", kind, cleaned=kind == "clean")
    np.testing.assert_array_equal(after, np.where(HIT, quality | 4096, quality))
    if kind == "in-place":
        assert mask_file(path, path, masker, MaskOptions(kind, bit="HST")).status == "finished"


def test_a_code_does_not_replace_another_code(masker, tmp_path):
    quality = flags(np.int32, 7)
    quality[HIT] = [3, 5, 0, 6]
    path = write_exposure(tmp_path / "a.fits", quality, INSTRUME="DECam", PLVER="V4.1")
    output = tmp_path / "b.fits"
    outcome = mask_file(path, output, masker, MaskOptions("append", bit="DECAM"))
    with fits.open(output) as hdus:
        assert hdus[3].data[HIT].tolist() == [3, 5, 5, 6]
    assert "SCI: 2 hit pixels have another flag in DQ already, which is kept" in outcome.warnings


def test_blank_flags_are_kept(masker, tmp_path):
    quality = flags(np.int16)
    quality[np.nonzero(HIT)[0][0], np.nonzero(HIT)[1][0]] = -1
    path = write_exposure(tmp_path / "a.fits", quality, of_plane={"BLANK": -1})
    output = tmp_path / "b.fits"
    assert mask_file(path, output, masker, MaskOptions("append", bit="8", masked=False)).status == "done"
    with fits.open(output, do_not_scale_image_data=True) as hdus:
        assert hdus[3].data[HIT].tolist() == [-1, 8, 8, 8]


@pytest.mark.parametrize(
    ("bit", "quality", "more", "sentence"),
    [
        ("8", flags(np.float32), {}, "--set-bit 8: DQ has floating-point numbers (float32), expected integers"),
        ("4096", flags(np.uint8), {}, "--set-bit 4096: DQ can hold at most 255 (uint8): 4096 does not fit"),
        ("32768", flags(np.int16), {}, "DQ can hold at most 32767 (int16): 32768 does not fit"),
        ("8", flags(), {"name": "WHT"}, "expected one quality plane for SCI, found 0"),
        ("JWST", flags(), {"TELESCOP": "HST"}, "DQ has the flags of HST: use --set-bit HST, or a number"),
        ("RUBIN", flags(), {}, "DQ has no card MP_CR"),
        ("DECAM", flags(), {"INSTRUME": "DECam"}, "has codes or bits (no PLVER says which): use --set-bit 5 or 16"),
        ("16", flags(), {"INSTRUME": "DECam", "PLVER": "V5.0"}, "DQ has codes, of which a hit is 5"),
        ("5", flags(np.int16, 64), {"INSTRUME": "DECam"}, "DQ has bits, of which a hit is 16"),
    ],
)
def test_a_flag_that_cannot_be_set_is_an_error_and_nothing_is_written(masker, tmp_path, bit, quality, more, sentence):
    assert sentence in error_message(write_exposure(tmp_path / "a.fits", quality, **more), masker, bit)


def test_a_plane_of_bits_is_preferred_and_two_are_ambiguous(masker, tmp_path):
    planes = [fits.ImageHDU(flags(), name=name) for name in ("BPM", "DQ", "FLAGS")]
    image = fits.ImageHDU(sky(SHAPE), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image, *planes]).writeto(tmp_path / "a.fits")
    assert "for SCI, found 2: DQ, FLAGS" in error_message(tmp_path / "a.fits", masker, "8")
    fits.HDUList([fits.PrimaryHDU(), image, *planes[:2]]).writeto(tmp_path / "b.fits")
    np.testing.assert_array_equal(flagged_plane(tmp_path / "b.fits", masker, "8")[HIT], 8)
    assert hdu_bytes(tmp_path / "out.fits")[2] == hdu_bytes(tmp_path / "b.fits")[2]


@pytest.mark.parametrize(
    ("second", "shared", "wanted"),
    [
        ("RESID", "HDU 3 (DQ)", {"kind": "append", "bit": "4096"}),
        ("RESID", "HDU 4 (ERR)", {"kind": "clean", "cleaned": True}),
        ("ERR", "HDU 4 (ERR)", {"kind": "clean", "cleaned": True}),
    ],
)
def test_a_plane_of_two_searched_images_is_an_error_before_the_search(masker, tmp_path, second, shared, wanted):
    error = np.random.default_rng(1).normal(5, 0.1, SHAPE).astype(np.float32)
    planes = {"SCI": sky(SHAPE), "RESID": sky(SHAPE, 1) - 100, "DQ": flags(), "ERR": error}
    hdus = [fits.ImageHDU(data, name=name) for name, data in planes.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path := tmp_path / "a.fits")
    searched = []
    output, options = tmp_path / "none.fits", MaskOptions(exts=("SCI", second), **wanted)
    outcome = mask_file(path, output, masker, options, progress=searched.append)
    both = f"belongs to two of the images that are searched, SCI and {second}: mask each with an output of its own"
    assert outcome.error == f"{path}: {shared} {both}"
    assert not searched
    assert not output.exists()
    assert mask_file(path, output, masker, MaskOptions(exts=("SCI",), **wanted)).status == "done"


def test_each_image_has_its_hits_in_its_own_plane(masker, tmp_path):
    hdus = [fits.PrimaryHDU()]
    for version in (1, 2):
        image = sky(SHAPE, version)
        image[4 + version, 5] = 900
        hdus += [fits.ImageHDU(image, name="SCI", ver=version), fits.ImageHDU(flags(), name="DQ", ver=version)]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    flagged_plane(tmp_path / "a.fits", masker, "8")
    with fits.open(tmp_path / "out.fits") as done:
        for version in (1, 2):
            expected = HIT.copy()
            expected[4 + version, 5] = True
            np.testing.assert_array_equal(done["DQ", version].data & 8 != 0, expected)


def test_the_command_sets_a_bit_in_a_copy_and_refuses_invalid_bits(model, tmp_path):
    path = write_exposure(tmp_path / "a.fits", flags(), TELESCOP="HST")
    before = path.read_bytes()
    assert run("mask", path, "-m", model, "--set-bit", "wfc3").exit_code == 0
    assert path.read_bytes() == before
    with fits.open(tmp_path / "a_crmasked.fits") as hdus:
        np.testing.assert_array_equal(hdus["DQ"].data[HIT], 4096)
        np.testing.assert_array_equal(hdus["SCI_CRMASK"].data, HIT)
    for wrong, sentence in (("WFPC9", "not a known pipeline"), ("12", "not the value of one bit"), ("0", "one bit")):
        done = run("mask", path, "-m", model, "--set-bit", wrong)
        assert done.exit_code == 2
        assert sentence in output_text(done)


@pytest.mark.slow
def test_hits_are_flagged_in_real_quality_planes(real, masker, tmp_path):
    for path, bit, value in (
        (real("lco0m4/coj0m405-kb97-20170817-0382-e91.fits.fz"), "BANZAI", 8),
        (sorted(real("decam/cutouts").glob("*375x280_V4*.fits"))[0], "DECAM", 5),
    ):
        output = tmp_path / path.name
        assert mask_file(path, output, masker, MaskOptions("append", bit=bit)).status == "done"
        with fits.open(path) as old, fits.open(output) as new:
            number = next(i for i, hdu in enumerate(old) if hdu.name in ("DQ", "BPM"))
            flags_, after = np.array(old[number].data), np.array(new[number].data)
            hits = new["SCI_CRMASK"].data > 0
            free = flags_ == 0 if value == 5 else flags_ & 8 == 0
            expected = np.where(hits & free, flags_ | value, flags_)
            np.testing.assert_array_equal(after, expected)
            assert value == 5 or (hits & free).sum() > 10
            assert all(
                a == b for i, (a, b) in enumerate(zip(hdu_bytes(path), hdu_bytes(output), strict=False)) if i != number
            )
