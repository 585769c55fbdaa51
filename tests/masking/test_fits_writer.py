"""Test the files that are written: masks, provenance, cleaned pixels; all other HDUs and pixels are unchanged."""

import gzip
import os
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

import cosmicgate
from cosmicgate.io.fits.hdus import pixels
from cosmicgate.io.fits.images import extensions
from cosmicgate.io.fits.pixel_edits import Patch, apply_patch
from cosmicgate.io.fits.raw_hdus import spans
from cosmicgate.masking import file_job
from cosmicgate.masking.existing_output import existing_output, output_key
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.output_paths import inputs_of, output_of, remove_stale_products, side_file
from cosmicgate.masking.pipeline import mask_file, prefetch
from cosmicgate.masking.read_images import read_images
from helpers.fits_files import hdu_bytes
from helpers.tiny_model import hit, sky

SHAPE = (48, 64)


def write_product(path, masker, kind="mask", output=None, **options):
    """Mask a file; return the path of the product."""
    output = output or output_of(path, path.parent, None, kind)
    options = MaskOptions(kind, cleaned=kind == "clean" or options.pop("cleaned", False), **options)
    outcome = mask_file(path, output, masker, options)
    assert outcome.status == "done", outcome.error
    return output


def image_hdu(image, storage):
    """Make an HDU of an image (H, W) with a given storage: a type, or compression, quantisation and tile shape."""
    if storage == "uint16":
        return fits.ImageHDU(np.rint(image).astype(np.uint16), name="SCI")
    if storage == "scaled int16":
        hdu = fits.ImageHDU(image.astype(np.float64), name="SCI")
        hdu.scale("int16", bscale=0.5, bzero=200)
        return hdu
    if storage in ("float32", "float64", ">f8", "int32"):
        return fits.ImageHDU(image.astype(storage), name="SCI")
    kind, method, tile = storage
    data = np.rint(image).astype(np.int16) if method == "int16" else image
    dither = {"dither": 1, "dither 2": 2}.get(method, -1)
    level = 0 if method == "lossless" else 16
    return fits.CompImageHDU(
        data, name="SCI", compression_type=kind, tile_shape=tile, quantize_level=level, quantize_method=dither,
        dither_seed=5,
    )  # fmt: skip


STORAGES = [
    *("float32", "float64", ">f8", "int32", "uint16", "scaled int16"),
    *(("RICE_1", method, (1, 64)) for method in ("int16", "quantised", "dither", "dither 2")),
    *(("GZIP_2", "lossless", (16, 24)), ("GZIP_1", "quantised", (5, 64)), ("HCOMPRESS_1", "quantised", (24, 32))),
]


@pytest.fixture
def exposure(tmp_path):
    """Return a function that writes a file with an image, its planes and unrelated HDUs."""

    def write(hdu, name="a.fits", *more):
        flags = np.zeros(SHAPE, np.int16)
        flags[:, 3] = 1
        table = fits.BinTableHDU(np.ones(6, dtype=[("x", "f4"), ("y", "i2")]), name="CAT")
        primary = fits.PrimaryHDU(None, fits.Header({"OBJECT": "field", "LONGER": "x" * 60}))
        lossy = fits.CompImageHDU(sky(SHAPE, 9), name="SKY", quantize_method=1, dither_seed=3)
        others = [fits.ImageHDU(flags, name="DQ"), lossy, table, *more]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.HDUList([primary, hdu, *others]).writeto(tmp_path / name, checksum=True)
        return tmp_path / name

    return write


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_cleaning_changes_hit_pixels_only_and_no_other_hdu(exposure, masker, storage):
    path = exposure(image_hdu(sky(SHAPE), storage))
    clean = write_product(path, masker, "clean")
    before, after = hdu_bytes(path), hdu_bytes(clean)
    assert before[:1] + before[2:] == after[:1] + after[2:-1]
    with fits.open(path) as old, fits.open(clean, checksum=True) as new:  # a wrong checksum is a warning, so an error
        assert old["SCI"].data.dtype == new["SCI"].data.dtype
        one, two = pixels(old["SCI"]), pixels(new["SCI"])
        np.testing.assert_array_equal(two[~hit(SHAPE)], one[~hit(SHAPE)])
        assert (one[hit(SHAPE)] > 500).all()
        assert (abs(two[hit(SHAPE)] - 100) < 15).all()
        np.testing.assert_array_equal(new["SCI_CRMASK"].data, hit(SHAPE))
        assert new["SCI"].header["CRHITPIX"] == 4
        assert "replaced by the median" in "".join(new["SCI"].header["HISTORY"])
        kept = [card for card in old["SCI"].header.cards if card.keyword not in ("CHECKSUM", "DATASUM", "ZCMPTYPE")]
        assert set(map(str, kept)) <= set(map(str, new["SCI"].header.cards))
        new.verify("exception")


@pytest.mark.parametrize("method", [-1, 1, 2], ids=["no dither", "dither 1", "dither 2"])
@pytest.mark.parametrize("blank", [False, True])
def test_values_below_the_minimum_of_a_quantised_tile_are_written(tmp_path, method, blank):
    image = np.random.default_rng(0).normal(100, 5, SHAPE).astype(np.float32)
    image[:, 9] = np.nan if blank else image[:, 9]
    hdu = fits.CompImageHDU(image, compression_type="RICE_1", quantize_method=method, dither_seed=5)
    hdu.writeto(path := tmp_path / "a.fits")
    before = fits.getdata(path)
    after = before.copy()
    after[:, 7] = np.nanmin(before, axis=1) / 2
    rows, columns = (part.ravel() for part in np.indices(SHAPE)[:, :, [7, 9]])
    patch = Patch(1, rows, columns, before[rows, columns], after[rows, columns])
    primary, place = spans(path)
    content = path.read_bytes()
    new = apply_patch(content[place.start : place.data], content[place.data :], patch)
    path.write_bytes(content[: primary.end] + new)
    np.testing.assert_allclose(fits.getdata(path), after, atol=1.0)
    unchanged = np.arange(SHAPE[1]) != 7
    np.testing.assert_array_equal(fits.getdata(path)[:, unchanged], before[:, unchanged])


@pytest.mark.parametrize("storage", ["float32", ("RICE_1", "dither", (1, 64))], ids=str)
@pytest.mark.parametrize("kind", ["mask", "append"])
def test_masks_are_written_without_a_change_of_other_hdus(exposure, masker, storage, kind):
    path = exposure(image_hdu(sky(SHAPE), storage))
    before = path.read_bytes()
    output = write_product(path, masker, kind)
    assert path.read_bytes() == before
    if kind == "append":
        assert output.read_bytes().startswith(before)
    with fits.open(output, checksum=True) as hdus:
        hdus.verify("exception")
        mask = hdus["SCI_CRMASK"]
        assert mask.data.dtype == np.uint8
        np.testing.assert_array_equal(mask.data, hit(SHAPE))


def test_a_mask_records_its_provenance(exposure, masker):
    output = write_product(exposure(image_hdu(sky(SHAPE), "float32")), masker, grow=1, threshold=0.4, fpr=1e-4)
    header = fits.getheader(output, "SCI_CRMASK")
    expected = dict(CRMODEL="tiny", CRVERSN=cosmicgate.__version__, CRTHRESH=0.4, CRFPR=1e-4, CRGROW=1, CRBIT=1)
    expected |= dict(CRHITPIX=2 * 14, CRFILE="a.fits", CRHDU=1, CRWEIGHT=masker.card.sha256, CRGOOD=48 * 63)
    assert {word: header[word] for word in expected} == expected
    assert header["CRFRAC"] == pytest.approx(28 / (48 * 63), rel=1e-3)
    assert "threshold 0.4, grown by 1: 28 pixels" in "".join(header["HISTORY"])
    assert fits.getheader(output)["CRFILE"] == "a.fits"


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(exposure, masker, tmp_path):
    path = exposure(image_hdu(sky(SHAPE), ("RICE_1", "dither", (1, 64))))
    first, second = ({}, {})
    for contents in (first, second):
        for kind in ("mask", "clean"):
            output = write_product(path, masker, kind, tmp_path / "out.fits", probability=True)
            contents[kind] = output.read_bytes()
            output.unlink()
        time.sleep(max(1.05 - time.time() % 1, 0.05))  # a date would differ now
    assert first == second


def test_probabilities_are_written_with_three_digits(exposure, masker):
    path = exposure(image_hdu(sky(SHAPE), "float32"))
    output = write_product(path, masker, probability=True)
    plane = next(read_images(path))
    with fits.open(output) as hdus:
        written = hdus["SCI_CRPROB"].data
        assert hdus["SCI_CRPROB"].compression_type == "GZIP_2"
    assert written.dtype.kind == "f"
    np.testing.assert_allclose(written, masker.probability(plane.image, plane.bad), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("name", "kind"), [("ERR", "std"), ("VAR", "var"), ("IVAR", "ivar"), ("wht", "ivar")])
@pytest.mark.parametrize("packed", [False, True])
def test_uncertainties_grow_at_replaced_pixels_only(exposure, masker, name, kind, packed):
    sigma = np.full(SHAPE, 5, np.float32) ** {"std": 1, "var": 2, "ivar": -2}[kind]
    lossless = dict(compression_type="GZIP_2", quantize_level=0)
    hdu = fits.CompImageHDU(sigma, name=name, **lossless) if packed else fits.ImageHDU(sigma, name=name)
    path = exposure(image_hdu(sky(SHAPE), "float32"), "a.fits", hdu)
    clean = write_product(path, masker, "clean")
    with fits.open(clean, checksum=True) as hdus:
        after = hdus[name].data
        assert hdus[name].header["CRHITPIX"] == 4
    here = hit(SHAPE)
    np.testing.assert_array_equal(after[~here], sigma[~here])
    assert ((after[here] < sigma[here] / 1.5) if kind == "ivar" else (after[here] > sigma[here] * 1.2)).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize("packed", [False, True])
def test_a_blank_pixel_of_an_integer_plane_of_variance_stays_blank(exposure, masker, dtype, packed):
    variance, blank = np.random.default_rng(0).integers(20, 30, SHAPE).astype(dtype), -999
    variance[np.nonzero(hit(SHAPE))[0][0]] = blank  # a row
    header = fits.Header({"BLANK": blank})
    hdu = fits.CompImageHDU(variance, header, name="VAR") if packed else fits.ImageHDU(variance, header, name="VAR")
    clean = write_product(exposure(image_hdu(sky(SHAPE), "float32"), "a.fits", hdu), masker, "clean")
    with fits.open(clean, checksum=True, do_not_scale_image_data=True) as hdus:
        after = np.asarray(hdus["VAR"].data)
    assert (after[variance == blank] == blank).all()
    grown = hit(SHAPE) & (variance != blank)
    assert (after[grown] > variance[grown]).all()
    assert (after[~grown] == variance[~grown]).all()


def test_bad_saturated_and_overscan_pixels_are_not_masked_or_replaced(tmp_path, masker):
    image = sky(SHAPE)
    image[10, 10], image[20, 5], image[30, 62], image[12, 40] = 400, 400, 400, np.nan
    flags = np.zeros(SHAPE, np.uint8)
    flags[10, 10] = 1
    image[40, 20] = 60_000
    header = fits.Header({"SATURATE": 50_000.0, "BIASSEC": "[61:64,1:48]"})
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, header, name="SCI"), fits.ImageHDU(flags, name="DQ")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    with fits.open(write_product(tmp_path / "a.fits", masker, "clean", grow=1)) as out:
        mask, cleaned = out["SCI_CRMASK"].data, out["SCI"].data
    for row, column in ((10, 10), (30, 62), (12, 40), (40, 20)):
        assert not mask[row, column]
        np.testing.assert_equal(cleaned[row, column], image[row, column])
    assert mask[20, 5]


@pytest.mark.parametrize("word", ["SATURATE", "GAIN"])
@pytest.mark.parametrize("value", ["unknown", 0.0, -1.0, 1.0])
def test_missing_and_invalid_keywords_do_not_matter(tmp_path, masker, word, value):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE), fits.Header({word: value, "BUNIT": "furlong", "FILTER": 7}))
    with fits.open(write_product(tmp_path / "a.fits", masker)) as out:
        np.testing.assert_array_equal(out["CRMASK"].data, hit(SHAPE))


@pytest.mark.slow
def test_every_ccd_of_an_exposure_gets_a_mask_named_after_it(tmp_path, masker):
    names = [f"{side}{number}" for side in "NS" for number in range(1, 32)]
    assert len(names) == 62
    hdus = [fits.CompImageHDU(sky((24, 32), i, 100 + i), name=f" {name} ") for i, name in enumerate(names)]
    hdus[5].data[:] = np.nan  # a dead CCD
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits.fz")
    outcome = mask_file(tmp_path / "a.fits.fz", tmp_path / "m.fits", masker, MaskOptions())
    assert (outcome.status, outcome.images, outcome.megapixels) == ("done", 61, round(61 * 24 * 32 / 1e6, 6))
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith("N6: not searched")
    with fits.open(tmp_path / "m.fits") as out:
        assert [hdu.name for hdu in out[1:]] == [f"{name}_CRMASK" for name in names if name != "N6"]
        assert all((hdu.data.astype(bool) & hit((24, 32))).sum() == 4 for hdu in out[1:])


def test_images_without_a_name_or_of_the_same_name_get_separate_masks(tmp_path, masker):
    hdus = [fits.ImageHDU(sky(SHAPE, 1), name="SCI", ver=1), fits.ImageHDU(sky(SHAPE, 2), name="SCI", ver=2)]
    fits.HDUList([fits.PrimaryHDU(sky(SHAPE, 3)), *hdus, fits.ImageHDU(sky(SHAPE, 4))]).writeto(tmp_path / "a.fits")
    with fits.open(write_product(tmp_path / "a.fits", masker)) as out:
        assert [(hdu.name, hdu.ver) for hdu in out[1:]] == [
            *(("CRMASK", 1), ("SCI_CRMASK", 1), ("SCI_CRMASK", 2), ("3_CRMASK", 1))
        ]
    with fits.open(write_product(tmp_path / "a.fits", masker, output=tmp_path / "b.fits", exts=("sci,2", "0"))) as out:
        assert [(hdu.name, hdu.ver) for hdu in out[1:]] == [("CRMASK", 1), ("SCI_CRMASK", 2)]


@pytest.mark.parametrize("versions", [(1, 2), (1, 1)], ids=["by version", "by order"])
@pytest.mark.parametrize("number", [1, 4])
def test_a_selected_image_has_the_same_planes_as_among_all_images(tmp_path, masker, versions, number):
    path, hdus = tmp_path / "a.fits", [fits.PrimaryHDU()]
    for seed, version in enumerate(versions):
        flags = np.zeros(SHAPE, np.int16)
        flags[:, 3 + seed] = 1
        group = {"SCI": sky(SHAPE, seed), "ERR": np.full(SHAPE, 5, np.float32), "DQ": flags}
        hdus += [fits.ImageHDU(data, name=name, ver=version) for name, data in group.items()]
    fits.HDUList(hdus).writeto(path)
    (alone,) = read_images(path, (str(number),), uncertain=True)
    among = {plane.extension.number: plane for plane in read_images(path, uncertain=True)}[number]
    np.testing.assert_array_equal(alone.bad, among.bad)
    assert np.flatnonzero(alone.bad.any(axis=0)).tolist() == [3 + number // 4]
    assert [one.number for one in alone.uncertainties] == [one.number for one in among.uncertainties] == [number + 1]
    before, after = hdu_bytes(path), hdu_bytes(write_product(path, masker, "clean", exts=(str(number),)))
    assert [i for i, block in enumerate(before) if block != after[i]] == [number, number + 1]


def test_planes_grouped_by_kind_are_matched_by_name(tmp_path, masker):
    flags = np.zeros((2, *SHAPE), np.int16)
    flags[0, :, 3], flags[1, :, 4] = 1, 1
    kinds = {"SCI": [sky(SHAPE), sky(SHAPE, 1)], "ERR": 2 * [np.full(SHAPE, 5, np.float32)], "DQ": flags}
    hdus = [fits.ImageHDU(data, name=f"{kind}{n}") for kind, both in kinds.items() for n, data in enumerate(both, 1)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path := tmp_path / "a.fits")
    found = {plane.extension.name: plane for plane in read_images(path, uncertain=True)}
    assert {name: np.flatnonzero(plane.bad.any(axis=0)).tolist() for name, plane in found.items()} == {
        "SCI1": [3],
        "SCI2": [4],
    }
    assert {name: [one.number for one in plane.uncertainties] for name, plane in found.items()} == {
        "SCI1": [3],
        "SCI2": [4],
    }


def test_a_selected_image_has_the_planes_of_a_file_without_another_image(tmp_path):
    hdus = [fits.ImageHDU(sky(SHAPE), name="MODEL"), fits.ImageHDU(np.eye(*SHAPE, dtype=np.int16), name="DQ")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    (plane,) = read_images(tmp_path / "a.fits", ("model",))
    np.testing.assert_array_equal(plane.bad, np.eye(*SHAPE) > 0)


def test_a_gzipped_file_stays_gzipped_with_its_other_hdus_unchanged(exposure, masker, tmp_path):
    path = exposure(image_hdu(sky(SHAPE), "uint16"))
    zipped = tmp_path / "z.fits.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    clean = write_product(zipped, masker, "clean")
    assert clean.name == "z_crclean.fits.gz"
    (tmp_path / "unzipped.fits").write_bytes(gzip.decompress(clean.read_bytes()))
    before, after = hdu_bytes(path), hdu_bytes(tmp_path / "unzipped.fits")
    assert before[:1] + before[2:] == after[:1] + after[2:-1]


def test_in_place_masks_are_appended_to_the_input_once(exposure, masker):
    path = exposure(image_hdu(sky(SHAPE), "float32"))
    path.chmod(0o640)
    before = hdu_bytes(path)
    write_product(path, masker, "in-place")
    after = path.read_bytes()
    assert after.startswith(b"".join(before))
    assert path.stat().st_mode & 0o777 == 0o640
    assert [image.name for image in extensions(path)] == ["SCI"], "the mask is not taken for an image"
    assert mask_file(path, path, masker, MaskOptions("in-place")).status == "finished"
    again = mask_file(path, path, masker, MaskOptions("in-place", threshold=0.9))
    assert "it has masks by cosmicgate already" in again.error
    assert path.read_bytes() == after


def test_a_file_changed_by_another_run_meanwhile_is_not_overwritten(exposure, masker):
    path = exposure(image_hdu(sky(SHAPE), "float32"))

    def another_run(megapixels):
        assert mask_file(path, path, masker, MaskOptions("in-place", cleaned=True, threshold=0.9)).status == "done"

    outcome = mask_file(path, path, masker, MaskOptions("in-place", cleaned=True), progress=another_run)
    assert outcome.status == "failed"
    assert outcome.error == f"{path}: it was changed while it was searched; run it again"
    assert existing_output(path).keys == {output_key(masker, MaskOptions("in-place", cleaned=True, threshold=0.9), "")}


@pytest.mark.parametrize("kind", ["mask", "append"])
def test_nothing_is_written_if_the_file_was_rewritten_while_it_was_searched(
    exposure, masker, tmp_path, monkeypatch, kind
):
    path, output = exposure(image_hdu(sky(SHAPE), "float32")), tmp_path / "out.fits"
    other = exposure(image_hdu(sky(SHAPE, 1), "float32"), "b.fits").read_bytes()
    hashed = file_job.sha256_of
    monkeypatch.setattr(file_job, "sha256_of", lambda one: (hashed(one), one.write_bytes(other))[0])
    outcome = mask_file(path, output, masker, MaskOptions(kind))
    assert outcome.error == f"{path}: it was changed while it was searched; run it again"
    assert not output.exists()


def test_the_settings_of_the_cascade_are_in_the_output_key(tmp_path):
    masker = cosmicgate.load("general", check=False, fast=True)
    cascade = masker.predictor.cascade
    stricter = replace(cascade, threshold=cascade.threshold + 1)
    stricter = replace(masker, predictor=replace(masker.predictor, cascade=stricter))
    assert output_key(masker, MaskOptions(), "") != output_key(stricter, MaskOptions(), "")


def test_an_invalid_card_is_kept_in_a_cleaned_compressed_image(masker, tmp_path):
    for kind in ("RICE_1", "HCOMPRESS_1"):
        path = tmp_path / f"{kind}.fits.fz"
        stored = np.rint(sky(SHAPE)).astype(np.int16)
        hdu = fits.CompImageHDU(stored, fits.Header({"SPARE1": "x"}), compression_type=kind)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        content = path.read_bytes()
        place = content.index(b"SPARE1")
        path.write_bytes(content[:place] + b"AIRMASS = nan".ljust(80) + content[place + 80 :])
        assert b"AIRMASS" in write_product(path, masker, "clean").read_bytes(), kind


def test_finished_outputs_are_kept_and_outdated_ones_rewritten(exposure, masker, tmp_path):
    path, output = exposure(image_hdu(sky(SHAPE), "float32")), tmp_path / "m.fits"

    def status(**options):
        return mask_file(path, output, masker, MaskOptions(**options)).status

    assert [status(), status(), status(grow=1), status(grow=1), status()] == ["done", "finished"] * 2 + ["done"]
    assert mask_file(path, output, masker, MaskOptions(), overwrite=True).status == "done"
    (tmp_path / "a.fits").unlink()
    exposure(image_hdu(sky(SHAPE, 1), "float32"))
    assert [status(), status()] == ["done", "finished"]


def test_an_unknown_file_is_not_replaced(exposure, masker, tmp_path):
    path, other = exposure(image_hdu(sky(SHAPE), "float32")), tmp_path / "precious.fits"
    fits.writeto(other, np.ones((3, 3)))
    before = other.read_bytes()
    outcome = mask_file(path, other, masker, MaskOptions())
    assert "precious.fits exists and is not a known output of cosmicgate; --overwrite replaces it" in outcome.error
    assert other.read_bytes() == before
    assert mask_file(path, other, masker, MaskOptions(), overwrite=True).status == "done"
    assert (
        "use --in-place to change the input itself"
        in mask_file(path, path, masker, MaskOptions(), overwrite=True).error
    )


@pytest.mark.parametrize("cleaned", [False, True])
def test_science_masked_in_place_is_replaced_only_under_overwrite(exposure, masker, tmp_path, cleaned):
    path, precious = (exposure(image_hdu(sky(SHAPE, seed), "float32"), f"{seed}.fits") for seed in range(2))
    fits.writeto(primary := tmp_path / "2.fits", sky(SHAPE, 2))
    for one in (precious, primary):
        write_product(one, masker, "in-place", cleaned=cleaned)
        before = one.read_bytes()
        for kind in ("mask", "clean"):
            outcome = mask_file(path, one, masker, MaskOptions(kind, cleaned=kind == "clean"))
            assert "exists and is not a known output of cosmicgate; --overwrite replaces it" in outcome.error
            assert one.read_bytes() == before
        assert mask_file(path, one, masker, MaskOptions(), overwrite=True).status == "done"


def test_other_settings_rewrite_masks_of_any_name_and_copies_of_default_name(exposure, masker, tmp_path):
    path = exposure(image_hdu(sky(SHAPE), "float32"), "A.FIT")
    named_hdu = tmp_path / "mine.fits"
    outputs = {
        "mask": [side_file(path), named_hdu],
        "append": [tmp_path / "A_crmasked.FIT"],
        "clean": [tmp_path / "A_crclean.FIT"],
    }
    for kind, paths in outputs.items():
        for output in paths:
            statuses = [
                mask_file(path, output, masker, MaskOptions(kind, grow=grow, cleaned=kind == "clean")).status
                for grow in (0, 1)
            ]
            assert statuses == ["done", "done"]
    copy = tmp_path / "copy.fits"
    assert [mask_file(path, copy, masker, MaskOptions("append")).status for _ in range(2)] == ["done", "finished"]
    assert "is not a known output of cosmicgate" in mask_file(path, copy, masker, MaskOptions("append", grow=1)).error


def test_products_and_hidden_files_are_no_inputs(tmp_path):
    made_before = ("a_crmask.fits", "b_crmasked.FIT", "c_crclean.fits.fz")
    for name in ("a.fits", "b.FIT", "c.fits.fz", "d.fits.gz", *made_before, ".x.fits", "e.txt"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "f.fits").touch()
    names = [path.name for path, _ in inputs_of([tmp_path])[0]]
    assert names == ["a.fits", "b.FIT", "c.fits.fz", "d.fits.gz"]
    pairs, products = inputs_of([tmp_path, tmp_path / "a.fits", tmp_path / "a_crmask.fits"], recursive=True)
    assert [path.name for path, _ in pairs] == [*names[:2], "f.fits", *names[2:]]
    assert {path.name for path in products} == set(made_before)
    out = {output_of(path, root, tmp_path / "out", "mask").relative_to(tmp_path).as_posix() for path, root in pairs}
    assert "out/below/f_crmask.fits" in out


def test_linked_folders_are_searched_once_each(tmp_path):
    for path in ("data/n1/1.fits", "data/n2/2.fits", "night/0.fits", "night/z/3.fits", "hidden/4.fits"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    links = {"link": "data", "twice": "data/n1", "a": "night/z", ".cache": "hidden", "z/loop": "night"}
    for name, target in links.items():
        (tmp_path / "night" / name).symlink_to(tmp_path / target)
    found, _ = inputs_of([tmp_path / "night"], recursive=True)
    paths = [path.relative_to(tmp_path / "night").as_posix() for path, _ in found]
    assert paths == ["0.fits", "link/n1/1.fits", "link/n2/2.fits", "z/3.fits"]
    assert [path.name for path, _ in inputs_of([tmp_path / "night"])[0]] == ["0.fits"]


def test_old_temporary_files_of_killed_runs_are_removed(tmp_path):
    old, new, other = (tmp_path / f".{letter * 32}.m.fits" for letter in "abc")
    other = other.with_name("." + "c" * 32 + ".n.fits")
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    remove_stale_products(tmp_path / "m.fits")
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def test_prefetching_gives_the_same_images_in_the_same_order(tmp_path):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(sky(SHAPE, i), name=f"N{i}") for i in range(3))]).writeto(path)
    for one, other in zip(read_images(path), prefetch(read_images(path)), strict=True):
        assert (one.extension.number, one.extension.name) == (other.extension.number, other.extension.name)
        np.testing.assert_array_equal(one.image, other.image)


def test_errors_while_prefetching_are_raised(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(prefetch(read_images(tmp_path / "nowhere.fits")))


# ----------------------------------------------------------------------------- planes: which image they belong to


def flags_in_rows(rows, shape=SHAPE):
    flags = np.zeros(shape, np.int16)
    flags[rows] = 1
    return flags


def named_hdu(data, name, version=1):
    return fits.ImageHDU(data, name=name, ver=version)


def good_pixel_counts(path):
    """List the label and the number of good pixels of each image that is searched."""
    return [(plane.extension.label, int((~plane.bad).sum())) for plane in read_images(path)]


def test_planes_are_matched_by_version_or_else_by_order(tmp_path):
    image, half = sky(SHAPE), 24 * 64
    first, second = named_hdu(image, "SCI"), named_hdu(image, "SCI", 2)
    parts = [first, named_hdu(flags_in_rows(np.s_[:24]), "DQ"), second, named_hdu(flags_in_rows(np.s_[:12]), "DQ")]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "follow.fits")
    assert good_pixel_counts(tmp_path / "follow.fits") == [("SCI", half), ("SCI_2", 3 * half // 2)]
    parts = [first, second, named_hdu(flags_in_rows(np.s_[:12]), "DQ", 2), named_hdu(flags_in_rows(np.s_[:24]), "DQ")]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "versions.fits")
    assert good_pixel_counts(tmp_path / "versions.fits") == [("SCI", half), ("SCI_2", 3 * half // 2)]


def test_masks_may_come_before_their_images(tmp_path):
    image, half = sky(SHAPE), 24 * 64
    parts = [
        named_hdu(flags_in_rows(np.s_[:24]), "DQ"),
        named_hdu(image, "A"),
        named_hdu(flags_in_rows(np.s_[:12]), "DQ"),
        named_hdu(image, "B"),
    ]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "a.fits")
    assert good_pixel_counts(tmp_path / "a.fits") == [("A", half), ("B", 3 * half // 2)]


def test_a_floating_point_mask_marks_all_nonzero_pixels_as_bad(tmp_path):
    flags = flags_in_rows(np.s_[:24]).astype(np.float32) * 0.3
    flags[30, 30] = 1e30
    fits.HDUList([fits.PrimaryHDU(sky(SHAPE)), named_hdu(flags, "MASK")]).writeto(tmp_path / "a.fits")
    assert good_pixel_counts(tmp_path / "a.fits") == [("PRIMARY", 24 * 64 - 1)]


@pytest.mark.parametrize("unit", [1e-25, 1.0, 1e15])
def test_uncertainties_grow_equally_in_any_unit(masker, tmp_path, unit):
    image = sky(SHAPE).astype(np.float64)
    hdus = [fits.PrimaryHDU(), named_hdu(image * unit, "SCI"), named_hdu(np.full(SHAPE, 5.0 * unit), "ERR")]
    hdus += [named_hdu(np.full(SHAPE, 25.0 * unit**2), "VAR"), named_hdu(np.full(SHAPE, 0.04 / unit**2), "IVAR")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    with fits.open(write_product(tmp_path / "a.fits", masker, "clean")) as done:
        hits = done["SCI_CRMASK"].data > 0
        powers = {"ERR": 1, "VAR": 0.5, "IVAR": -0.5}
        errors = [done[name].data[hits] ** power / unit for name, power in powers.items()]
        assert hits.any()
        for values in errors:
            assert (values > 5).all()
            np.testing.assert_allclose(values, errors[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["BKG_RMS", "SKY_SIGMA", "VAR_POISSON", "PSF_ERR"])
def test_planes_that_only_resemble_uncertainties_are_unchanged(masker, tmp_path, name):
    fits.HDUList([fits.PrimaryHDU(sky(SHAPE)), named_hdu(np.full(SHAPE, 5, np.float32), name)]).writeto(
        tmp_path / "a.fits"
    )
    done = write_product(tmp_path / "a.fits", masker, "clean")
    assert hdu_bytes(done)[1] == hdu_bytes(tmp_path / "a.fits")[1]


# ---------------------------------------------------------------------------------------------- other kinds of files


@pytest.mark.parametrize("method", ["bz2", "lzma", "zip"])
@pytest.mark.parametrize("kind", ["mask", "append", "in-place"])
def test_a_file_of_another_compression_is_refused_and_unchanged(masker, tmp_path, method, kind):
    import bz2
    import lzma
    import zipfile

    plain, packed = tmp_path / "a.fits", tmp_path / "a.fits.packed"
    fits.PrimaryHDU(sky(SHAPE)).writeto(plain)
    if method == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.write(plain)
    else:
        packed.write_bytes({"bz2": bz2, "lzma": lzma}[method].compress(plain.read_bytes()))
    before = packed.read_bytes()
    output = packed if kind == "in-place" else tmp_path / "out.fits"
    outcome = mask_file(packed, output, masker, MaskOptions(kind))
    assert outcome.status == "failed"
    assert "a.fits.packed: expected a FITS file (plain, .fz or .gz), got one packed by " in outcome.error
    assert packed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fits", "a.fits.packed"]


@pytest.mark.parametrize("card", ["EXTVER  =                  2.0", "EXTVER  = 'two     '"])
def test_an_invalid_extver_is_tolerated(masker, tmp_path, card):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), named_hdu(sky(SHAPE), "CCD"), named_hdu(sky(SHAPE), "SCI", 9)]).writeto(path)
    content = path.read_bytes()
    old = next(content[i : i + 80] for i in range(0, len(content), 80) if content[i : i + 10] == b"EXTVER  = ")
    path.write_bytes(content.replace(old, card.ljust(80).encode()))
    with fits.open(write_product(path, masker)) as done:
        assert [hdu.name for hdu in done[1:]] == ["CCD_CRMASK", "SCI_CRMASK"]


def test_provenance_cards_of_an_earlier_cleaning_are_replaced(masker, tmp_path):
    header = fits.Header({"CRHITPIX": 7, "CRTHRESH": 0.9, "CRMODEL": "other", "OBJECT": "M31"})
    header["HISTORY"] = "an earlier run"
    fits.PrimaryHDU(sky(SHAPE), header).writeto(tmp_path / "a.fits")
    outcome = mask_file(tmp_path / "a.fits", tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    after = fits.getheader(tmp_path / "b.fits")
    assert [after.count(word) for word in ("CRHITPIX", "CRTHRESH", "CRMODEL")] == [1, 1, 1]
    assert (after["CRHITPIX"], after["CRTHRESH"], after["OBJECT"]) == (outcome.hits, 0.5, "M31")
    assert after["HISTORY"][0] == "an earlier run"
    assert len(after["HISTORY"]) > 1
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith("PRIMARY: cosmicgate has cleaned it before")


def test_a_file_of_masks_is_no_input_whatever_its_name(masker, tmp_path):
    fits.PrimaryHDU(sky(SHAPE)).writeto(tmp_path / "a.fits")
    write_product(tmp_path / "a.fits", masker, output=tmp_path / "hits.fits")
    found, products = inputs_of([tmp_path])
    assert [path.name for path, _ in found] == ["a.fits"]
    assert [path.name for path in products] == ["hits.fits"]


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_a_file_that_another_program_named_like_a_product_is_an_input(masker, tmp_path, ending):
    fits.PrimaryHDU(sky(SHAPE)).writeto(tmp_path / f"a{ending}")
    fits.PrimaryHDU(sky(SHAPE)).writeto(tmp_path / f"lacos_crclean{ending}")
    for kind in ("clean", "append", "mask"):
        write_product(tmp_path / f"a{ending}", masker, kind)
    for given in ([tmp_path], list(tmp_path.iterdir())):
        found, products = inputs_of(given)
        assert {path.name for path, _ in found} == {f"a{ending}", f"lacos_crclean{ending}"}
        assert {path.name for path in products} == {f"a_crclean{ending}", f"a_crmasked{ending}", "a_crmask.fits"}


def test_provenance_cards_are_not_taken_for_a_wcs(masker, tmp_path):
    from astropy.wcs import WCS

    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 1.0})
    fits.PrimaryHDU(sky(SHAPE), header).writeto(tmp_path / "a.fits")
    for kind in ("mask", "clean"):
        with fits.open(write_product(tmp_path / "a.fits", masker, kind)) as done, warnings.catch_warnings():
            warnings.simplefilter("error")
            for hdu in done:
                if hdu.is_image and hdu.shape:
                    assert WCS(hdu.header).has_celestial == (hdu.name == "PRIMARY")
