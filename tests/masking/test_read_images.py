"""Which HDUs of a file are searched, in layouts as pipelines write them; all others stay the same to the byte."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.ndimage import median_filter
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.images import extensions
from cosmicgate.io.fits.raw_hdus import spans
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from cosmicgate.masking.read_images import kind_of, read_images
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (48, 64)


@pytest.fixture(scope="module")
def masker(tmp_path_factory):
    return cosmicgate.load(tiny_model(tmp_path_factory.mktemp("model")), check=False)


def blocks_of(path):
    """Return the bytes of each HDU of a file."""
    content = path.read_bytes()
    return [content[one.start : one.end] for one in spans(path)]


# ------------------------------------------------------------------------------------- what planes are made of


def flags(dtype=np.int16, seed=0, bits=(1, 4, 16, 512)):
    """Return a plane with a flag in a pixel here and there: each looks like a hit."""
    generator = np.random.default_rng(seed)
    values = generator.choice(bits, SHAPE) * (generator.random(SHAPE) < 0.03)
    return (values % 256 if np.dtype(dtype).itemsize == 1 else values).astype(dtype)


def dense_flags(seed=0):
    return np.random.default_rng(seed).choice([0, 0, 1, 2, 4, 8], SHAPE).astype(np.int32)


def errors(seed=0, power=0.5):
    return ((np.abs(sky(SHAPE, seed)) / 2 + 16) ** power).astype(np.float32)


def model():
    """Return a smooth plane with a narrow star in it, which is as sharp as a hit."""
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


def exposures(dtype=np.float32):
    return (np.repeat(np.repeat(np.arange(6 * 8).reshape(6, 8), 8, 0), 8, 1) * 90.5).astype(dtype)


def weights(seed=7):
    values = np.random.default_rng(seed).normal(1, 0.01, SHAPE).astype(np.float32)
    values[10, 10] = 2
    return values


def uint(dtype, seed=0):
    return np.rint(sky(SHAPE, seed)).astype(dtype)


def raw(seed):
    return fits.Header({"BIASSEC": "[57:64,1:48]", "EXTVER": seed + 1})


S = [sky(SHAPE, seed) for seed in range(16)]
B = [sky((80, 280), seed) for seed in range(3)]

# name -> HDUs (EXTNAME, data, EXTVER or cards), those that are searched; the first is the primary one.
LAYOUTS = {
    "the issue's pair": ([None, ("1-1.E.SCI", S[0]), ("1-1.E.FLG", flags())], [1]),
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
            *(("D2IMARR", model(), 1), ("WCSDVARR", psf(), 1)),
        ],
        [1, 4],
    ),
    "Spitzer": ([("", S[0]), ("UNC", errors()), ("COV", exposures())], [0]),
    "a mosaic of DECam": (
        [None, *((f"{side}{n}", S[n + 4 * (side == "S")]) for side in "NS" for n in range(1, 4))],
        list(range(1, 7)),
    ),
    "im1 to im16": ([None, *((f"im{n + 1}", S[n]) for n in range(16))], list(range(1, 17))),
    "ccd00 ...": ([None, *((f"ccd{n:02}", uint(np.uint16, n)) for n in range(4))], [1, 2, 3, 4]),
    "KMTNet": ([None, *((name, S[n]) for n, name in enumerate(("kk", "mm", "nn", "tt")))], [1, 2, 3, 4]),
    "numbers for names": ([None, *((str(n), S[n]) for n in range(4))], [1, 2, 3, 4]),
    "OmegaCAM": ([None, *((f"ESO_CCD_#{n}", S[n]) for n in range(4))], [1, 2, 3, 4]),
    "without names": ([None, *(("", S[n]) for n in range(4))], [1, 2, 3, 4]),
    "primary and others without names": ([("", S[0]), ("", S[1]), ("", S[2])], [0, 1, 2]),
    "raw amplifiers of LCO": ([None, *(("SCI", uint(np.uint16, n), raw(n)) for n in range(4))], [1, 2, 3, 4]),
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
    "unknown: a model": ([None, ("FOO", S[0]), ("BAR", model())], [1]),
    "unknown: probabilities": ([None, ("FOO", S[0]), ("BAR", probabilities())], [1]),
    "unknown: exposures": ([None, ("FOO", S[0]), ("BAR", exposures())], [1]),
    "unknown: a small map": ([None, ("FOO", S[0]), ("BAR", sky((12, 16)))], [1]),
    "unknown: all of them": (
        [None, ("A1", model()), ("B", flags(np.uint8)), ("C", exposures(np.int32)), ("D", S[0]), ("E", segments())],
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
    "unknown: whole numbers beside real ones": ([None, ("FOO", S[0], {"BUNIT": "adu"}), ("BAR", uint("i4", 1))], [1]),
    "a primary image and anything": (
        [("", S[0]), ("FOO", errors()), ("BAR", weights()), ("BAZ", flags()), ("OOF", S[1]), ("RAB", model())],
        [0],
    ),
    "a primary image and planes without names": ([("", S[0]), ("", errors()), ("", flags()), ("", model())], [0]),
    "a primary image and its weights without a name": ([("", S[0]), ("", weights())], [0]),
    "science and anything": ([None, ("SCI", S[0]), ("TEMPLATE", S[1]), ("FLAT", weights()), ("", errors())], [1]),
    "numbered planes": ([None, ("EXT1", S[0], {"BUNIT": "adu"}), ("EXT2", errors()), ("EXT3", flags())], [1]),
    "stamps of a catalogue": ([("", S[0]), *((f"STAMP{n}", sky((12, 12), n)) for n in range(9))], [0]),
    "named SKY": ([None, ("SKY", S[0])], [1]),
    "named CR": ([None, ("CR", S[0])], [1]),
    "named MODEL, with its mask": ([None, ("MODEL", S[0]), ("DQ", flags()), ("ERR", errors())], [1]),
    "named SKY, with its PSF": ([None, ("SKY", S[0]), ("MASK", flags()), ("PSFIMAGE", psf())], [1]),
    "two CCDs named SKY": ([None, ("SKY1", S[0]), ("SKY2", S[1])], [1, 2]),
    "a background of an unnamed image": ([("", S[0]), ("BACKGROUND", model())], [0]),
}


def written(path, layout, packed=False):
    """Write a layout; images are compressed without loss if ``packed``."""
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


PACKED = (
    "science and anything",
    "HST",
    "a primary image and planes without names",
    "unknown: all of them",
    "a dead CCD",
)


@pytest.mark.parametrize(
    ("case", "packed"), [*((case, False) for case in LAYOUTS), *((case, True) for case in (*PACKED, "without names"))]
)
def test_images_are_cleaned_and_every_other_hdu_stays_to_the_byte(masker, tmp_path, case, packed):
    layout, expected = LAYOUTS[case]
    path = written(tmp_path / "a.fits", layout, packed)
    assert [plane.place.number for plane in read_images(path)] == expected
    output = tmp_path / "b.fits"
    outcome = mask_file(path, output, masker, MaskOptions("clean", cleaned=True))
    assert (outcome.status, outcome.images) == ("done", len(expected)), outcome
    before, after = blocks_of(path), blocks_of(output)
    errors_too = {n for n, one in enumerate(layout) if one and kind_of(one[0])}
    changed = {number for number in range(len(before)) if before[number] != after[number]}
    assert changed <= set(expected) | errors_too, outcome.warnings
    assert changed >= {n for n in expected if np.array_equal(np.squeeze(layout[n][1]), S[0])}


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("pairs of unknown names", "A-1.XYZ: not searched and not changed: it has only a few different integers"),
        ("Rubin, PSF without a name", "3: not searched and not changed: it is much smaller than the image"),
        ("unknown: a model", "BAR: not searched and not changed: it has no noise from pixel to pixel"),
        ("a primary image and planes without names", "1: not searched and not changed: it shows the same picture"),
        ("stamps of a catalogue", "STAMP0, STAMP1, STAMP2, STAMP3 and 5 more: not searched"),
        ("chips with an unknown plane", "CHIP1.XYZ: not searched and not changed: there is an image beside it"),
    ],
)
def test_what_is_not_certain_to_be_an_image_is_said_with_how_to_search_it(masker, tmp_path, case, sentence):
    path = written(tmp_path / "a.fits", LAYOUTS[case][0])
    outcome = mask_file(path, tmp_path / "b.fits", masker, MaskOptions())
    (line,) = [line for line in outcome.warnings if line.startswith(sentence)]
    ext = line.split("--ext ")[1].split(" ")[0]
    assert [plane.place.number for plane in read_images(path, (ext,))] != [
        plane.place.number for plane in read_images(path)
    ]
    said = CliRunner().invoke(app, ["info", str(path)]).output
    assert f"not searched, not changed: {sentence.rsplit(': ', 1)[1][:30]}" in said or "STAMP" in sentence


def test_known_layouts_are_searched_without_a_word(masker, tmp_path):
    for number, case in enumerate(("Gemini, many", "JWST", "MUSE", "CCDData", "im1 to im16", "named SKY")):
        path = written(tmp_path / f"{number}.fits", LAYOUTS[case][0])
        assert mask_file(path, tmp_path / "b.fits", masker, MaskOptions(), overwrite=True).warnings == [], case


def test_what_astropy_writes_of_a_ccddata_keeps_its_psf(masker, tmp_path):
    ccd = CCDData(S[0], unit="adu", uncertainty=StdDevUncertainty(errors()), mask=flags(bool), psf=psf(31))
    ccd.write(tmp_path / "a.fits")
    outcome = mask_file(tmp_path / "a.fits", tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    assert outcome.images == 1
    with fits.open(tmp_path / "a.fits") as before, fits.open(tmp_path / "b.fits") as after:
        np.testing.assert_array_equal(after["PSFIMAGE"].data, before["PSFIMAGE"].data)
        np.testing.assert_array_equal(after["MASK"].data, before["MASK"].data)


def test_if_no_hdu_is_certain_to_be_the_image_the_file_is_refused_with_what_to_do(masker, tmp_path):
    path = written(tmp_path / "a.fits", [None, ("FOO", S[0]), ("BAR", errors())])
    outcome = mask_file(path, tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True))
    assert outcome.status == "failed"
    assert "none of 2 HDUs is certain to be the image (1 FOO: it shows the same picture" in outcome.error
    assert mask_file(path, tmp_path / "b.fits", masker, MaskOptions("clean", cleaned=True, exts=("foo",))).hits == 4


def test_weights_that_are_flags_stay_as_they_are(masker, tmp_path):
    for number, data in enumerate((flags(np.uint8, bits=(1,)), flags(np.float32, bits=(1,)))):
        path = written(tmp_path / f"{number}.fits", [None, ("SCI", S[0]), ("WEIGHT", data)])
        outcome = mask_file(path, tmp_path / f"{number}b.fits", masker, MaskOptions("clean", cleaned=True))
        assert blocks_of(path)[2] == blocks_of(tmp_path / f"{number}b.fits")[2]
        assert (
            "SCI: WEIGHT has only a few different integers, like a plane of flags: it is not changed"
            in outcome.warnings
        )


def test_real_files_are_understood(real):
    for path, number in (
        (real("lco/1m0_elp1m008-fa05-20211007-0042-e00_raw_4amp.fits"), 4),
        (real("lco0m4/coj0m405-kb97-20170817-0382-e91.fits.fz"), 1),
        (real("decam/des_coadd_g.fits.fz"), 1),
        (next(real("decam/cutouts").glob("*.fits")), 1),
    ):
        assert len(list(read_images(path))) == number
        assert not any(plane.of_file for plane in read_images(path))


# -------------------------------------------------------------------------------------------------------- --ext


def test_a_name_comes_before_what_its_letters_could_mean(masker, tmp_path):
    path = written(tmp_path / "a.fits", [None, ("2", S[0]), ("1", S[1]), ("SCI", S[2], 2), ("SCI,2", S[3])])
    for ext, number in (("1", 2), ("2", 1), ("SCI,2", 4), ("sci,2 ", 4), ("3", 3), ("0", 0)):
        if number:
            assert [plane.place.number for plane in read_images(path, (ext,))] == [number]
    outcome = mask_file(path, tmp_path / "m.fits", masker, MaskOptions(exts=("1",)))
    assert outcome.warnings == ["--ext 1 is the HDU of that name, not HDU 1"]
    plain = written(tmp_path / "b.fits", [None, ("1", S[0]), ("SCI", S[2], 1), ("SCI", S[1], 2)])
    assert mask_file(plain, tmp_path / "n.fits", masker, MaskOptions(exts=("1",))).warnings == []
    assert [plane.place.number for plane in read_images(plain, ("SCI,2", "2"))] == [2, 3]


def test_an_image_named_as_planes_are_is_read_by_python_too(tmp_path):
    path = written(tmp_path / "a.fits", [None, ("SKY", S[0]), ("DQ", flags())])
    assert [image.name for image in extensions(path)] == ["SKY"]
    known = dict(gain=1.0, read_noise=1.0, saturation=1e5, exptime=1.0)
    np.testing.assert_array_equal(read_frame(path, **known).image, S[0])
