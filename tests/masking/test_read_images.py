"""Test which HDUs of a file are searched, in the layouts of many pipelines, and that all others are unchanged."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.ndimage import median_filter

from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.images import extensions
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from cosmicgate.masking.read_images import kind_of, read_images
from helpers.fits_files import hdu_bytes
from helpers.mask_command import run
from helpers.tiny_model import hit, sky

SHAPE = (48, 64)


# ------------------------------------------------------------------------------------------------- pixels of planes


def flags(dtype=np.int16, seed=0, bits=(1, 4, 16, 512)):
    """Make a plane (H, W) with flags in single pixels, which look like hits."""
    generator = np.random.default_rng(seed)
    values = generator.choice(bits, SHAPE) * (generator.random(SHAPE) < 0.03)
    return (values % 256 if np.dtype(dtype).itemsize == 1 else values).astype(dtype)


def dense_flags(seed=0):
    return np.random.default_rng(seed).choice([0, 0, 1, 2, 4, 8], SHAPE).astype(np.int32)


def errors(seed=0, power=0.5):
    return ((np.abs(sky(SHAPE, seed)) / 2 + 16) ** power).astype(np.float32)


def smooth_model():
    """Make a smooth plane (H, W) with a star as narrow as a hit."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 900 * np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 0.5)
    return (100 + 0.3 * x + 0.001 * y**2 + star).astype(np.float32)


def psf(side=21):
    y, x = np.mgrid[:side, :side] - side // 2
    return np.exp(-(x**2 + y**2) / 0.8).astype(np.float32)


def segments():
    values = np.zeros(SHAPE, np.int32)
    for label in range(1, 40):
        row, column = divmod(label * 53, SHAPE[1])
        values[row : row + 3, column : column + 2] = label
    return values


def probabilities():
    return np.where(hit(SHAPE), 0.97, 1e-4).astype(np.float32)


def exposure_map(dtype=np.float32):
    return (np.repeat(np.repeat(np.arange(6 * 8).reshape(6, 8), 8, 0), 8, 1) * 90.5).astype(dtype)


def weights(seed=7):
    values = np.random.default_rng(seed).normal(1, 0.01, SHAPE).astype(np.float32)
    values[10, 10] = 2
    return values


def integer_sky(dtype, seed=0):
    return np.rint(sky(SHAPE, seed)).astype(dtype)


def raw_cards(seed):
    return fits.Header({"BIASSEC": "[57:64,1:48]", "EXTVER": seed + 1})


S = [sky(SHAPE, seed) for seed in range(16)]
B = [sky((80, 280), seed) for seed in range(3)]

# name -> HDUs (EXTNAME, data, EXTVER or cards), the primary one first, and the numbers of those that are searched.
LAYOUTS = {
    "image and flags by suffix": ([None, ("1-1.E.SCI", S[0]), ("1-1.E.FLG", flags())], [1]),
    "pairs of two CCDs": (
        [None, ("1-1.E.SCI", S[0]), ("1-1.E.FLG", flags()), ("1-2.E.SCI", S[1]), ("1-2.E.FLG", flags())],
        [1, 3],
    ),
    "pairs of unknown names": ([None, ("a-1.SCI", S[0]), ("a-1.XYZ", flags()), ("a-2.SCI", S[1])], [1, 3]),
    "chips with an unknown plane": ([None, ("CHIP1.INT1", S[0]), ("CHIP1.XYZ", S[3])], [1]),
    "Gemini": ([None, ("SCI", S[0], 1), ("VAR", errors(power=1), 1), ("DQ", flags(np.uint16), 1)], [1]),
    "Gemini, many": (
        [None]
        + [
            (name, data, ver)
            for ver in (1, 2, 3)
            for name, data in (("SCI", S[ver]), ("VAR", errors(ver, 1)), ("DQ", flags()), ("OBJMASK", flags(np.uint8)))
        ],
        [1, 5, 9],
    ),
    "ESO": ([None, ("CHIP1.INT1", S[0]), ("CHIP2.INT1", S[1]), ("CHIP3.INT1", S[2])], [1, 2, 3]),
    "ESO, planes": ([None, ("DATA", S[0]), ("ERRS", errors()), ("QUAL", flags(np.int32))], [1]),
    "ESO, names of chips": (
        [None] + [(f"CHIP{n}.{kind}", data) for n in (1, 2) for kind, data in (("DATA", S[n]), ("QUAL", flags()))],
        [1, 3],
    ),
    "MUSE": (
        [None]
        + [
            (f"CHAN{n:02}.{kind}", data)
            for n in (1, 2)
            for kind, data in (("DATA", S[n]), ("DQ", flags(np.int32)), ("STAT", errors(n, 1)))
        ],
        [1, 4],
    ),
    "SDSS": ([("", S[0]), ("", np.linspace(1, 2, 64))], [0]),
    "HSC": (
        [None, ("IMAGE", S[0]), ("MASK", flags(np.int32)), ("VARIANCE", errors(power=1)), ("PSF", psf())],
        [1],
    ),
    "Rubin, PSF without a name": ([None, ("IMAGE", S[0]), ("MASK", flags(np.int32)), ("", psf())], [1]),
    "BANZAI": ([None, ("SCI", S[0]), ("BPM", flags(np.uint8)), ("ERR", errors())], [1]),
    "CCDData": (
        [("", S[0]), ("MASK", flags(np.uint8)), ("UNCERT", errors()), ("PSFIMAGE", psf())],
        [0],
    ),
    "JWST": (
        [
            *(None, ("SCI", S[0]), ("ERR", errors()), ("DQ", flags(np.uint32)), ("AREA", weights())),
            *(("VAR_POISSON", errors(power=1)), ("VAR_RNOISE", weights()), ("VAR_FLAT", weights(3))),
        ],
        [1],
    ),
    "HST": (
        [
            *(None, ("SCI", S[0], 1), ("ERR", errors(), 1), ("DQ", flags(), 1)),
            *(("SCI", S[1], 2), ("ERR", errors(1), 2), ("DQ", flags(), 2)),
            *(("D2IMARR", smooth_model(), 1), ("WCSDVARR", psf(), 1)),
        ],
        [1, 4],
    ),
    "Spitzer": ([("", S[0]), ("UNC", errors()), ("COV", exposure_map())], [0]),
    "a mosaic of DECam": (
        [None, *((f"{side}{n}", S[n + 4 * (side == "S")]) for side in "NS" for n in range(1, 4))],
        list(range(1, 7)),
    ),
    "im1 to im16": ([None, *((f"im{n + 1}", S[n]) for n in range(16))], list(range(1, 17))),
    "ccd00 ...": ([None, *((f"ccd{n:02}", integer_sky(np.uint16, n)) for n in range(4))], [1, 2, 3, 4]),
    "KMTNet": ([None, *((name, S[n]) for n, name in enumerate(("kk", "mm", "nn", "tt")))], [1, 2, 3, 4]),
    "numbers for names": ([None, *((str(n), S[n]) for n in range(4))], [1, 2, 3, 4]),
    "OmegaCAM": ([None, *((f"ESO_CCD_#{n}", S[n]) for n in range(4))], [1, 2, 3, 4]),
    "without names": ([None, *(("", S[n]) for n in range(4))], [1, 2, 3, 4]),
    "primary and others without names": ([("", S[0]), ("", S[1]), ("", S[2])], [0, 1, 2]),
    "raw amplifiers of LCO": (
        [None, *(("SCI", integer_sky(np.uint16, n), raw_cards(n)) for n in range(4))],
        [1, 2, 3, 4],
    ),
    "amplifiers of one name": ([None, *(("RAW", S[n]) for n in range(4))], [1, 2, 3, 4]),
    "known by their cards": (
        [None, *((name, S[n], {"DETSEC": f"[{n}:9]"}) for n, name in enumerate(("left", "right", "up")))],
        [1, 2, 3],
    ),
    "cards, and a plane that copies them": (
        [
            *(None, ("left", S[0], {"CCDNUM": 0}), ("leftish", flags(), {"CCDNUM": 0})),
            *(("right", S[1], {"CCDNUM": 1}), ("rightish", flags(), {"CCDNUM": 1})),
        ],
        [1, 3],
    ),
    "cards, and a plane without": ([None, ("N1", S[0], {"CCDNUM": 1}), ("XX", S[1])], [1]),
    "a small guider of a mosaic": (
        [None, ("big", S[0], {"CCDNUM": 1}), ("tall", S[1], {"CCDNUM": 2}), ("wee", S[2][:16, :16], {"CCDNUM": 3})],
        [1, 2, 3],
    ),
    "counted photons": (
        [None, *((f"im{n}", np.random.default_rng(n).poisson(0.05, SHAPE).astype(np.int16)) for n in (1, 2))],
        [1, 2],
    ),
    "a dead CCD": ([None, ("N1", S[0]), ("N2", np.zeros(SHAPE, np.float32)), ("N3", S[1])], [1, 2, 3]),
    "cubes of one image": ([None, ("SCI", S[0][None], 1), ("SCI", S[1][None], 2)], [1, 2]),
    "a cube of one and flags": ([None, ("FOO", S[0][None]), ("BAR", flags()[None])], [1]),
    "unknown: image and flags": ([None, ("FOO", S[0]), ("BAR", flags())], [1]),
    "unknown: flags and image": ([None, ("BAR", flags(np.uint8)), ("FOO", S[0])], [2]),
    "unknown: flags of real numbers": ([None, ("FOO", S[0]), ("BAR", flags(np.float32))], [1]),
    "unknown: dense flags": ([None, ("FOO", S[0]), ("BAR", dense_flags())], [1]),
    "unknown: labels": ([None, ("FOO", S[0]), ("BAR", segments())], [1]),
    "unknown: a model": ([None, ("FOO", S[0]), ("BAR", smooth_model())], [1]),
    "unknown: probabilities": ([None, ("FOO", S[0]), ("BAR", probabilities())], [1]),
    "unknown: exposures": ([None, ("FOO", S[0]), ("BAR", exposure_map())], [1]),
    "unknown: a small map": ([None, ("FOO", S[0]), ("BAR", sky((12, 16)))], [1]),
    "unknown: all of them": (
        [
            None,
            ("A1", smooth_model()),
            ("B", flags(np.uint8)),
            ("C", exposure_map(np.int32)),
            ("D", S[0]),
            ("E", segments()),
        ],
        [4],
    ),
    "unknown: errors, and a unit tells": ([None, ("FOO", S[0], {"BUNIT": "adu"}), ("BAR", errors())], [1]),
    "unknown: a smoothed image, and a unit tells": (
        [None, ("FOO", B[0], {"BUNIT": "adu"}), ("BAR", median_filter(B[0], 5))],
        [1],
    ),
    "a smoothed image without a name": ([None, ("SCI", B[0]), ("", median_filter(B[0], 5)), ("", B[0] - 100)], [1]),
    "large ones without names": ([None, *(("", image) for image in B)], [1, 2, 3]),
    "two exposures of one field": ([None, ("im1", B[1]), ("im2", B[1] / 2 + sky(B[1].shape, 9, noise=4))], [1, 2]),
    "unknown: whole numbers beside real ones": (
        [None, ("FOO", S[0], {"BUNIT": "adu"}), ("BAR", integer_sky("i4", 1))],
        [1],
    ),
    "a primary image and anything": (
        [("", S[0]), ("FOO", errors()), ("BAR", weights()), ("BAZ", flags()), ("OOF", S[1]), ("RAB", smooth_model())],
        [0],
    ),
    "a primary image and planes without names": (
        [("", S[0]), ("", errors()), ("", flags()), ("", smooth_model())],
        [0],
    ),
    "a primary image and its weights without a name": ([("", S[0]), ("", weights())], [0]),
    "science and anything": ([None, ("SCI", S[0]), ("TEMPLATE", S[1]), ("FLAT", weights()), ("", errors())], [1]),
    "numbered planes": ([None, ("EXT1", S[0], {"BUNIT": "adu"}), ("EXT2", errors()), ("EXT3", flags())], [1]),
    "stamps of a catalogue": ([("", S[0]), *((f"STAMP{n}", sky((12, 12), n)) for n in range(9))], [0]),
    "named SKY": ([None, ("SKY", S[0])], [1]),
    "named CR": ([None, ("CR", S[0])], [1]),
    "named MODEL, with its mask": ([None, ("MODEL", S[0]), ("DQ", flags()), ("ERR", errors())], [1]),
    "named SKY, with its PSF": ([None, ("SKY", S[0]), ("MASK", flags()), ("PSFIMAGE", psf())], [1]),
    "two CCDs named SKY": ([None, ("SKY1", S[0]), ("SKY2", S[1])], [1, 2]),
    "a background of an unnamed image": ([("", S[0]), ("BACKGROUND", smooth_model())], [0]),
}


def write_layout(path, layout, packed=False):
    """Write a layout, with lossless compression of images if ``packed``; return the path."""
    hdus = []
    for number, one in enumerate(layout):
        name, data, more = (*(one or ("", None)), {})[:3]
        header = fits.Header(more if isinstance(more, dict | fits.Header) else {"EXTVER": more})
        lossless = dict(compression_type="GZIP_2", quantize_level=0)
        if not number:
            hdus.append(fits.PrimaryHDU(data, header))
        elif packed and data.ndim == 2:
            hdus.append(fits.CompImageHDU(data, header, name=name, **lossless))
        else:
            hdus.append(fits.ImageHDU(data, header, name=name))
    hdus.append(fits.BinTableHDU(np.ones(3, [("x", "f4")]), name="CAT"))
    fits.HDUList(hdus).writeto(path)
    return path


COMPRESSED_CASES = (
    "science and anything",
    "HST",
    "a primary image and planes without names",
    "unknown: all of them",
    "a dead CCD",
)


@pytest.mark.parametrize(
    ("case", "packed"),
    [*((case, False) for case in LAYOUTS), *((case, True) for case in (*COMPRESSED_CASES, "without names"))],
)
def test_images_are_cleaned_and_every_other_hdu_is_unchanged(masker, tmp_path, case, packed):
    layout, expected = LAYOUTS[case]
    path = write_layout(tmp_path / "a.fits", layout, packed)
    assert [plane.extension.number for plane in read_images(path)] == expected
    output = tmp_path / "b.fits"
    outcome = mask_file(path, output, masker, MaskOptions("clean", cleaned=True))
    assert (outcome.status, outcome.images) == ("done", len(expected)), outcome
    before, after = hdu_bytes(path), hdu_bytes(output)
    errors_too = {n for n, one in enumerate(layout) if one and kind_of(one[0], fits.Header())}
    changed = {number for number in range(len(before)) if before[number] != after[number]}
    assert changed <= set(expected) | errors_too, outcome.warnings
    assert changed >= {n for n in expected if np.array_equal(np.squeeze(layout[n][1]), S[0])}


@pytest.mark.parametrize(
    ("card", "sigma_to"),
    [
        (("UTYPE", "StdDevUncertainty"), 1),
        (("UTYPE", "VarianceUncertainty"), 2),
        (("UTYPE", "InverseVariance"), -2),
        (("UTYPE", "UnknownUncertainty"), 0),
        (("HDUCLAS3", "MSE"), 2),
    ],
)
def test_a_card_says_the_kind_of_an_uncertainty_plane_not_its_name(masker, tmp_path, card, sigma_to):
    image, sigma = sky(SHAPE).astype(np.float32), np.float32(5.0)
    plane = fits.ImageHDU(np.full(image.shape, sigma ** (sigma_to or 1), np.float32), name="UNCERT")
    plane.header[card[0]] = card[1]
    fits.HDUList([fits.PrimaryHDU(image), plane]).writeto(tmp_path / "a.fits")
    mask_file(tmp_path / "a.fits", tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    with fits.open(tmp_path / "b.fits") as hdus:
        done, hits = hdus["UNCERT"].data, hdus["PRIMARY"].data != image
    assert hits.any()
    if sigma_to == 0:
        assert (done == sigma).all()
    else:
        assert (done[hits] ** (1 / sigma_to) > 1.2 * sigma).all()
        assert (done[hits] ** (1 / sigma_to) < 5 * sigma).all()


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("pairs of unknown names", "A-1.XYZ: not searched and not changed: it has only a few different integers"),
        ("Rubin, PSF without a name", "3: not searched and not changed: it is much smaller than the image"),
        ("unknown: a model", "BAR: not searched and not changed: it has no noise from pixel to pixel"),
        ("a primary image and planes without names", "1: not searched and not changed: it shows the same image"),
        ("stamps of a catalogue", "STAMP0, STAMP1, STAMP2, STAMP3 and 5 more: not searched"),
        ("chips with an unknown plane", "CHIP1.XYZ: not searched and not changed: there is an image beside it"),
    ],
)
def test_hdus_that_may_be_images_are_named_with_the_option_to_search_them(masker, tmp_path, case, sentence):
    path = write_layout(tmp_path / "a.fits", LAYOUTS[case][0])
    outcome = mask_file(path, tmp_path / "b.fits", masker, MaskOptions())
    (line,) = [line for line in outcome.warnings if line.startswith(sentence)]
    ext = line.split("--ext ")[1].split(" ")[0]
    assert [plane.extension.number for plane in read_images(path, (ext,))] != [
        plane.extension.number for plane in read_images(path)
    ]
    info = run("info", path).output
    assert f"not searched, not changed: {sentence.rsplit(': ', 1)[1][:30]}" in info or "STAMP" in sentence


def test_known_layouts_are_searched_without_a_warning(masker, tmp_path):
    for number, case in enumerate(("Gemini, many", "JWST", "MUSE", "CCDData", "im1 to im16", "named SKY")):
        path = write_layout(tmp_path / f"{number}.fits", LAYOUTS[case][0])
        assert mask_file(path, tmp_path / "b.fits", masker, MaskOptions(), overwrite=True).warnings == [], case


def test_the_psf_of_a_ccddata_written_by_astropy_is_unchanged(masker, tmp_path):
    ccd = CCDData(S[0], unit="adu", uncertainty=StdDevUncertainty(errors()), mask=flags(bool), psf=psf(31))
    ccd.write(tmp_path / "a.fits")
    outcome = mask_file(tmp_path / "a.fits", tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    assert outcome.images == 1
    with fits.open(tmp_path / "a.fits") as before, fits.open(tmp_path / "b.fits") as after:
        np.testing.assert_array_equal(after["PSFIMAGE"].data, before["PSFIMAGE"].data)
        np.testing.assert_array_equal(after["MASK"].data, before["MASK"].data)


def test_a_file_without_a_certain_image_is_refused_with_advice(masker, tmp_path):
    path = write_layout(tmp_path / "a.fits", [None, ("FOO", S[0]), ("BAR", errors())])
    outcome = mask_file(path, tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    assert outcome.status == "failed"
    assert "none of 2 HDUs is certain to be the image (1 FOO: it shows the same image" in outcome.error
    assert mask_file(path, tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True, exts=("foo",))).hits == 4


def test_weights_that_are_flags_are_unchanged(masker, tmp_path):
    for number, data in enumerate((flags(np.uint8, bits=(1,)), flags(np.float32, bits=(1,)))):
        path = write_layout(tmp_path / f"{number}.fits", [None, ("SCI", S[0]), ("WEIGHT", data)])
        outcome = mask_file(path, tmp_path / f"{number}b.fits", masker, MaskOptions("clean", cleaned=True))
        assert hdu_bytes(path)[2] == hdu_bytes(tmp_path / f"{number}b.fits")[2]
        assert (
            "SCI: WEIGHT has only a few different integers, like a plane of flags: it is not changed"
            in outcome.warnings
        )


@pytest.mark.slow
def test_images_of_real_files_are_found(real):
    for path, number in (
        (real("lco/1m0_elp1m008-fa05-20211007-0042-e00_raw_4amp.fits"), 4),
        (real("lco0m4/coj0m405-kb97-20170817-0382-e91.fits.fz"), 1),
        (real("decam/des_coadd_g.fits.fz"), 1),
        (next(real("decam/cutouts").glob("*.fits")), 1),
    ):
        assert len(list(read_images(path))) == number
        assert not any(plane.file_notes for plane in read_images(path))


# -------------------------------------------------------------------------------------------------------- --ext


def test_ext_is_a_name_before_it_is_a_number_or_version(masker, tmp_path):
    path = write_layout(tmp_path / "a.fits", [None, ("2", S[0]), ("1", S[1]), ("SCI", S[2], 2), ("SCI,2", S[3])])
    for ext, number in (("1", 2), ("2", 1), ("SCI,2", 4), ("sci,2 ", 4), ("3", 3), ("0", 0)):
        if number:
            assert [plane.extension.number for plane in read_images(path, (ext,))] == [number]
    outcome = mask_file(path, tmp_path / "m.fits", masker, MaskOptions(exts=("1",)))
    assert outcome.warnings == ["--ext 1 is the HDU of that name, not HDU 1"]
    plain = write_layout(tmp_path / "b.fits", [None, ("1", S[0]), ("SCI", S[2], 1), ("SCI", S[1], 2)])
    assert mask_file(plain, tmp_path / "n.fits", masker, MaskOptions(exts=("1",))).warnings == []
    assert [plane.extension.number for plane in read_images(plain, ("SCI,2", "2"))] == [2, 3]


def test_an_image_with_the_name_of_a_plane_is_read_as_a_frame_too(tmp_path):
    path = write_layout(tmp_path / "a.fits", [None, ("SKY", S[0]), ("DQ", flags())])
    assert [image.name for image in extensions(path)] == ["SKY"]
    known = dict(gain=1.0, read_noise=1.0, saturation=1e5, exptime=1.0)
    np.testing.assert_array_equal(read_frame(path, **known).image, S[0])
