"""Test that the amplifiers of raw LCO frames are overscan-subtracted, multiplied by their gains and assembled."""

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.lco.amplifiers import read_amplifiers
from cosmicgate.io.fits.frames import read_frame

RAW = "lco/1m0_elp1m008-fa05-20211007-0042-e00_raw_4amp.fits"
CORNERS = {(0, 0): "[1:8,1:6]", (0, 1): "[16:9,1:6]", (1, 0): "[1:8,12:7]", (1, 1): "[16:9,12:7]"}


def raw_file(path, sky, **changes):
    """Write four amplifiers, each read towards its own corner, whose electrons make up ``sky`` (12, 16)."""
    header = fits.Header({"RDNOISE": 7.0, "SATURATE": 40_000.0, "EXPTIME": 95.0, "FILTER": "w", "TELID": "1m0a"})
    hdus = fits.HDUList([fits.PrimaryHDU(header=header)])
    for number, ((down, right), section) in enumerate(CORNERS.items(), start=1):
        piece = sky[6 * down : 6 * down + 6, 8 * right : 8 * right + 8]
        piece = piece[:: -1 if down else 1, :: -1 if right else 1] / (number + 1.0)
        bias = 1000 * number + np.arange(6)[:, None]  # each row has another bias
        data = np.hstack([piece + bias, np.repeat(bias, 4, axis=1)]).astype(np.float32)
        cards = {"GAIN": number + 1.0, "DATASEC": "[1:8,1:6]", "BIASSEC": "[9:12,1:6]", "DETSEC": section} | changes
        hdus.append(fits.ImageHDU(data, fits.Header(cards), name="SCI", ver=number))
    hdus.writeto(path)
    return path


def test_amplifiers_are_assembled_into_the_image_of_the_sky(tmp_path):
    sky = np.random.default_rng(0).uniform(0, 500, (12, 16))
    frame = read_amplifiers(raw_file(tmp_path / "elp1m008-fa05-20211007-0042-e00.fits", sky))
    assert frame.image == pytest.approx(sky, abs=0.01)
    assert (frame.gain, frame.exptime, frame.band, frame.telescope) == (1.0, 95.0, "w", "1m0")
    assert frame.saturation == 80_000  # that of the amplifier that saturates first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DETSEC": "UNKNOWN"}, r"amplifier 1: expected DETSEC as \[x1:x2,y1:y2\], found 'UNKNOWN'"),
        ({"GAIN": 0.0}, "amplifier 1: expected its GAIN, electrons per ADU, found 0.0"),
        ({"DETSEC": "[1:8,1:12]"}, "do not agree on one binning"),
        ({"DETSEC": "[1:12,1:9]"}, "do not agree on one binning"),
    ],
)
def test_inconsistent_header_cards_are_refused(tmp_path, changes, sentence):
    path = raw_file(tmp_path / "a.fits", np.zeros((12, 16)), **changes)
    with pytest.raises(ValueError, match=sentence):
        read_amplifiers(path)


@pytest.mark.parametrize("value", [None, "N/A"])
def test_a_missing_or_invalid_exposure_card_is_named(tmp_path, value):
    path = raw_file(tmp_path / "a.fits", np.zeros((12, 16)))
    with fits.open(path, mode="update") as hdus:
        if value is None:
            del hdus[0].header["RDNOISE"]
        else:
            hdus[0].header["RDNOISE"] = value
    with pytest.raises(ValueError, match=rf"a.fits: expected a number as RDNOISE .*, found {value!r}"):
        read_amplifiers(path)


def test_a_real_raw_frame_has_one_level_across_its_amplifiers(real):
    frame = read_amplifiers(real(RAW))
    assert frame.shape == (1024, 1024)
    quarters = [np.median(frame.image[a : a + 512, b : b + 512]) for a in (0, 512) for b in (0, 512)]
    assert np.ptp(quarters) < 0.03 * np.mean(quarters)  # 2 % remain: there is no flat field


def test_raw_amplifiers_are_not_read_as_a_ccd(real):
    with pytest.raises(ValueError, match="amplifiers"):
        read_frame(real(RAW))
