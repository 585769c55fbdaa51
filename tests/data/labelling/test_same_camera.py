"""Exposures that are compared must differ: a frame that is given twice is recognised, and nothing else."""

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.labelling.same_camera import Fingerprint, check_distinct, started
from cosmicgate.data.lco.io import Exposure
from cosmicgate.io.fits.frames import Frame


def flat(seconds, exptime=10.0, response=0.05, **cards):
    """Take a flat whose pixels respond differently, at a time of one minute."""
    level = 40_000 * np.random.default_rng(0).normal(1, response, (64, 64))
    image = np.random.default_rng(seconds).poisson(level).astype(np.float32)
    frame = Frame(image, 1.0, 8.0, 60_000.0, exptime, band="r", name=f"flat{seconds}")
    return Exposure(frame, fits.Header({"DATE-OBS": f"2024-03-01T03:10:{seconds:02d}"} | cards))


def test_exposures_of_different_starts_are_no_copies_whatever_they_share():
    check_distinct([Fingerprint.of(flat(seconds)) for seconds in (10, 30)])
    one, other = (Fingerprint.of(flat(seconds, **{"DATE-OBS": "2024-03-01T03:10"})) for seconds in (10, 30))
    with pytest.raises(ValueError, match="flat10 and flat30: their noise is the same"):
        check_distinct([one, other])


def test_exposures_of_one_minute_are_no_copies_if_their_starts_are_given_to_the_minute():
    starts = [flat(seconds, response=0, **{"DATE-OBS": "2024-03-01T03:10"}) for seconds in (10, 30)]
    check_distinct([Fingerprint.of(one) for one in starts])
    both = [flat(seconds, 90, response=0, **{"DATE-OBS": "2024-03-01T03:10"}) for seconds in (10, 30)]
    with pytest.raises(ValueError, match="both began at 2024-03-01T03:10"):
        check_distinct([Fingerprint.of(one) for one in both])


@pytest.mark.parametrize(
    ("cards", "start"),
    [
        ({"DATE-OBS": "2024-03-01T03:10:20.5", "TIME-OBS": "04:00:00"}, "2024-03-01T03:10:20.5"),
        ({"DATE-OBS": "2024-03-01", "TIME-OBS": "03:10:20"}, "2024-03-01T03:10:20"),
        ({"DATE-OBS": "2024-03-01T00:00:00", "UT": "03:10:20"}, "2024-03-01T03:10:20"),
        ({"DATE-OBS": "2024-03-01T00:00:00.000"}, ""),
        ({"DATE-OBS": "2024-03-01"}, ""),
        ({"MJD-OBS": 60370.25}, "MJD 60370.250000"),
        ({}, ""),
    ],
)
def test_a_start_has_the_time_of_day(cards, start):
    assert started(fits.Header(cards)) == start
