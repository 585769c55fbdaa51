"""Exposures are measured and grouped by field before they are compared."""

from dataclasses import replace

import pytest
from astropy.io import fits

from cosmicgate.data.labelling.fields import Field, from_json, group, skies_of, summarize, to_json
from cosmicgate.data.labelling.same_camera import filter_of
from helpers.field_exposures import GAIN, READ_NOISE, write_field


def surveys(paths, **more):
    return [summarize(path, {}, **more)[0] for path in paths]


def members(fields):
    return {one.name: len(one.exposures) for one in fields}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    return write_field(tmp_path_factory.mktemp("a"), "a", 0)


def test_an_exposure_is_measured(field):
    one = surveys(field)[0]
    assert one.shape == [96, 112]
    assert one.sky == pytest.approx(300 / GAIN, rel=0.05)
    assert one.noise == pytest.approx((300 + READ_NOISE**2) ** 0.5 / GAIN, rel=0.15)
    assert one.noise == pytest.approx(one.expected_noise, rel=0.15)
    assert 10 <= one.stars <= 14
    assert one.fwhm == pytest.approx(2.355 * 1.7, rel=0.15)
    assert one.pointing == pytest.approx([150.0, 2.0], abs=0.01)


def test_fields_differ_in_pointing_filter_or_exposure_time(field, tmp_path):
    others = {"b": {"pointing": (150.1, 2.0)}, "c": {"FILTER": "g"}, "d": {"EXPTIME": 30.0}}
    paths = [path for name, more in others.items() for path in write_field(tmp_path, name, 0, OBJECT="a", **more)]
    found = members(group(surveys([*field, *paths])))
    assert found == {"a-r-60s": 3, "a-r-60s-2": 3, "a-g-60s": 3, "a-r-30s": 3}


def test_a_dither_is_in_one_field(field, tmp_path):
    dithered = write_field(tmp_path, "b", 0, pointing=(150.0 + 30 / 3600, 2.0))
    assert members(group(surveys([*field, *dithered]))) == {"a-r-60s": 6}


def test_fields_that_overlap_are_one_sky_also_by_way_of_others(field):
    one = surveys(field[:1])[0]
    far = [0.0, 1.8, 0.9, 5.0]  # of the 96 rows
    members = [replace(one, pointing=[150.0, 2.0 + 96 * step / 3600]) for step in far]
    fields = [Field(str(number), [member]) for number, member in enumerate(members)]
    assert skies_of(fields) == {"0": "0", "1": "0", "2": "0", "3": "3"}


def test_without_a_wcs_the_telescopes_pointing_counts(tmp_path):
    none = dict.fromkeys(
        ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    )
    near = write_field(tmp_path, "a", 0, RA="10:00:00", DEC="+02:00:00", **none)
    far = write_field(tmp_path, "b", 1, RA=151.0, DEC=2.0, **none)
    exposures = surveys([*near, *far])
    assert exposures[0].pointing == pytest.approx([150.0, 2.0])
    assert members(group(exposures)) == {"a-r-60s": 3, "b-r-60s": 3}


def test_the_user_may_say_what_a_field_is(field, tmp_path):
    other = write_field(tmp_path / "two", "b", 0, pointing=(10, 2), DITHER="x")
    assert members(group(surveys([*field, *other], group=["FILTER", "EXPTIME"]))) == {"r-60.0": 6}
    assert set(members(group(surveys([*field, *other], group=["folder"])))) == {field[0].parent.name, "two"}
    folders = [write_field(tmp_path / name / "red", "c", 0, exposures=1)[0] for name in ("m13", "ngc1")]
    found = group(surveys(folders, group=["folder"], root=tmp_path))
    assert list(members(found)) == ["m13-red", "ngc1-red"]
    with pytest.raises(ValueError, match="expected DITHER in the header, which --group names"):
        surveys([*other, *field], group=["DITHER"])


@pytest.mark.parametrize("kind", ["SKYFLAT", "DOMEFLAT", "Twilight Flat", "Master Dark", "twilight", "LAMP"])
def test_flats_and_darks_are_no_exposures_of_the_sky(kind, tmp_path):
    path = write_field(tmp_path, "a", 0, exposures=1, stars=1, IMAGETYP=kind)[0]
    with pytest.raises(ValueError, match=f"its IMAGETYP is {kind.lower()}: expected exposures of the sky"):
        summarize(path, {})


def test_fields_survive_json(field):
    fields = group(surveys(field[:2]))
    assert fields[0].reason
    assert from_json(to_json(fields)) == fields


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"FILTER": "g ", "FILTER1": "x"}, "g"),
        ({"FILTER1": "clear", "FILTER2": "r"}, "clear+r"),
        ({"FILTER2": "r"}, "r"),
        ({}, "V"),
    ],
)
def test_the_filters_of_all_wheels_name_the_filter(cards, name):
    assert filter_of(fits.Header(cards), "V") == name
