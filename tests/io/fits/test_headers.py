"""Test header values: all keywords and units, errors that name invalid cards, defaults of the instrument."""

import logging
import re

import pytest
from astropy.io import fits

from cosmicgate.data.simulation.ccd import CCDS
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.instruments import INSTRUMENTS, KEYWORDS
from helpers.fits_files import constant_image, refusal_message, write_fits


@pytest.mark.parametrize(("key", "entry"), [(key, entry) for key, entries in KEYWORDS.items() for entry in entries])
def test_every_keyword_is_read(tmp_path, key, entry):
    replaced = {"gain": "GAIN", "read_noise": "RDNOISE", "saturation": "SATURATE", "exptime": "EXPTIME"}[key]
    path = write_fits(tmp_path / "a.fits", image=constant_image(level=10.0), **{replaced: None})
    words = entry.split("+")
    for number, word in enumerate(words):
        fits.setval(path, word if " " not in word else f"HIERARCH {word}", value=30.0 + number)
    expected = 30.0 if key == "saturation" else 30.0 + (len(words) - 1) / 2
    assert getattr(read_frame(path), key) == expected


def test_two_amplifiers_give_mean_values_and_the_lower_saturation(tmp_path):
    cards = {"GAINA": 4.0, "GAINB": 4.2, "RDNOISEA": 7.0, "RDNOISEB": 6.0, "SATURATA": 43e3, "SATURATB": 42e3}
    frame = read_frame(write_fits(tmp_path / "a.fits", image=constant_image(), **cards))
    assert (frame.gain, frame.read_noise, frame.saturation) == (4.1, 6.5, 42e3)


@pytest.mark.parametrize(
    ("unit", "factor", "gain"),
    [
        ("adu", 1, 4),
        ("COUNTS", 1, 4),
        ("DN", 1, 4),
        ("", 1, 4),
        ("electron", 1, 1),
        ("e-", 1, 1),
        ("ELECTRONS", 1, 1),
        ("electrons/s", 90, 1),
        ("ELECTRONS/S", 90, 1),
        ("e-/sec", 90, 1),
        ("electron s**-1", 90, 1),
        ("COUNTS/S", 90, 4),
        ("cps", 90, 4),
    ],
)
def test_units_are_converted_to_counts_with_their_gain(tmp_path, unit, factor, gain):
    frame = read_frame(write_fits(tmp_path / "a.fits", image=constant_image(3), BUNIT=unit))
    assert frame.image[0, 0] == 3 * factor
    assert frame.gain == gain
    assert frame.saturation == 45_000 * factor
    assert frame.read_noise == 6.5


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"BUNIT": "nJy"}, "expected an image of counts or electrons, got BUNIT 'nJy'; give gain"),
        ({"BUNIT": "electrons/s", "EXPTIME": 0.0}, "BUNIT is a rate per second, so give the exposure time"),
        ({"BUNIT": "electrons/s", "EXPTIME": None}, "BUNIT is a rate per second, so give the exposure time"),
        ({"GAIN": True}, "expected a number for GAIN, got True"),
        ({"GAIN": "nan"}, "GAIN = nan is not a plausible gain: expected a positive number"),
        ({"GAIN": "-inf"}, "GAIN = -inf is not a plausible gain: expected a positive number"),
        ({"RDNOISE": -6.5}, "RDNOISE = -6.5 is not a plausible read_noise: expected a positive number"),
        ({"EXPTIME": -1}, "EXPTIME = -1.0 is not a plausible exptime"),
        (
            {"GAINA": 4.0, "GAINB": 0},
            "GAINB = 0.0 is not a plausible gain: expected a positive number; give gain to override it",
        ),
        ({"GAIN": None, "TELID": "1m0a"}, r"lacks gain \("),  # raw frames: the cameras of LCO differ
        (
            {"EXPTIME": None, "INSTRUME": "DECam"},
            r"lacks exptime \(one of EXPTIME",
        ),  # there is no default exposure time
    ],
)
def test_invalid_header_values_are_named_with_their_card(tmp_path, cards, expected):
    assert re.search(
        expected, refusal_message(read_frame, write_fits(tmp_path / "a.fits", image=constant_image(), **cards))
    )


@pytest.mark.parametrize("known", [{"gain": 2.0}, {"gain": 2.0, "saturation": 7.0}])
def test_given_values_override_unit_and_header(tmp_path, known):
    frame = read_frame(write_fits(tmp_path / "a.fits", image=constant_image(3), BUNIT="nJy/s", GAIN="?"), **known)
    assert frame.gain == 2
    assert frame.saturation == known.get("saturation", 45_000 * 90)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"INSTRUME": "DECam"}, ("decam", 4.0, 6.5, 45_000)),
        ({"INSTRUME": "DECam", "BUNIT": "electrons"}, ("decam", 1.0, 6.5, 180_000)),
        ({"TELID": "0m4a", "INSTRUME": "kb29", "RLEVEL": 91}, ("0m4", 1.0, 16.4, 97_500)),
        ({"INSTRUME": "fa05", "RLEVEL": 91}, ("1m0", 1.0, 7.7, 100_000)),
        ({"INSTRUME": "fl15", "L1STATOV": 1}, ("1m0", 1.0, 7.7, 100_000)),
        ({"TELESCOP": "2m0-01", "INSTRUME": "fs02", "RLEVEL": 91}, ("2m0", 1.0, 11.3, 125_000)),
    ],
)
def test_missing_values_are_those_of_the_instrument_with_a_warning(tmp_path, caplog, cards, expected):
    lacking = {"GAIN": None, "RDNOISE": None, "SATURATE": None}
    path = write_fits(tmp_path / "a.fits", image=constant_image(), **lacking, **cards)
    with caplog.at_level(logging.WARNING):
        frame = read_frame(path)
    assert (frame.telescope, frame.gain, frame.read_noise, frame.saturation) == expected
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (2 if "BUNIT" in cards else 3)
    assert all(str(path) in line and "it is taken to be" in line for line in messages)


@pytest.mark.parametrize("telescope", ["decam", "0m4", "1m0", "2m0"])
def test_the_default_saturation_is_not_above_the_simulated_full_well(telescope):
    ccd = CCDS[telescope]
    assert INSTRUMENTS[telescope].saturation <= ccd.saturation * ccd.gain
