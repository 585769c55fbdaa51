"""Test the labelling of hits as light that is in one exposure of a field and not in the others."""

import gzip
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.background import dilate
from cosmicgate.data.labelling.agreement import Agreement, agreement
from cosmicgate.data.labelling.alignment import celestial
from cosmicgate.data.labelling.multi_exposure import Comparison, main, read_exposure
from cosmicgate.data.labelling.reference_frame import clipped_mean, flux_ratio
from cosmicgate.data.labelling.same_camera import Fingerprint, check_distinct
from cosmicgate.data.labelling.write_truth_planes import write_plane, write_planes
from cosmicgate.data.lco.io import (
    IGNORE_BOUNDARY,
    IGNORE_BRIGHTER,
    IGNORE_HOT,
    IGNORE_NO_DATA,
    IGNORE_SOURCE,
    IGNORE_STATIC,
    IGNORE_TRAIL,
    Exposure,
    read_sequence,
    science_header,
    write_sequence,
)
from cosmicgate.data.lco.simulation import TELESCOPES, simulate_triple
from cosmicgate.io.atomic import sha256_of
from cosmicgate.io.fits.frames import Frame, write_frame
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.io.fits.images import all_images
from cosmicgate.masking.output_paths import inputs_of

RATES = {"0m4": 120, "1m0": 40, "2m0": 20}  # enough for hits in a small frame


@pytest.fixture(scope="module")
def fields():
    """Simulate two fields of each telescope class."""
    return {
        name: [simulate_triple(name, [seed, 11], (300, 300), rate=RATES[name]) for seed in (0, 1)] for name in RATES
    }


@pytest.fixture(scope="module")
def triple(fields):
    return fields["1m0"][0]


@pytest.fixture(scope="module")
def labelled(triple):
    return Comparison()(exposures(triple))


def exposures(triple) -> list[Exposure]:
    return [e.exposure for e in triple.exposures]


def test_all_telescope_classes_are_tested(fields):
    assert list(fields) == list(TELESCOPES)


@pytest.mark.parametrize("telescope", list(RATES))
def test_labels_of_a_simulated_field_agree_with_its_known_charge(fields, telescope):
    total = sum((agreement(Comparison()(exposures(t)), t) for t in fields[telescope]), Agreement())
    assert total.found > 150
    assert total.recall >= 0.9
    assert total.precision >= 0.95
    hit = total.found + total.missed + total.on_sources + total.too_small + total.elsewhere
    assert total.on_sources < 0.25 * hit  # most hits are labelled, not ignored


def test_hits_of_single_pixels_can_be_labelled(triple, labelled):
    every, larger = (agreement(labels, triple) for labels in (Comparison(min_size=1)(exposures(triple)), labelled))
    assert every.too_small == 0
    assert every.found > larger.found
    assert every.precision >= 0.95


def test_stars_align_frames_without_a_wcs(fields):
    rich = fields["1m0"][1]  # eleven stars, of at least three
    blind = [replace(e, header=without_wcs(e.header)) for e in exposures(rich)]
    assert celestial(blind[0].header) is None
    found = agreement(Comparison()(blind), rich)
    assert found.recall >= 0.9
    assert found.precision >= 0.95


def test_frames_are_not_resampled(triple, labelled):
    for given, kept in zip(exposures(triple), labelled.exposures, strict=True):
        assert np.array_equal(given.frame.image, kept.frame.image)
        assert given.header["CRPIX1"] == kept.header["CRPIX1"]


def test_a_hit_is_labelled_in_its_own_frame_only(triple):
    given = exposures(triple)
    place = empty_pixel(triple)
    image = given[1].frame.image.copy()
    image[place] += 3000
    image[place[0] + 1, place[1]] += 2000
    given[1] = replace(given[1], frame=replace(given[1].frame, image=image))
    labelled = Comparison()(given)
    around = slice(place[0] - 10, place[0] + 11), slice(place[1] - 10, place[1] + 11)
    assert labelled.hits[1][place]
    assert labelled.hits[1][place[0] + 1, place[1]]
    assert [int(hits[around].sum()) for hits in labelled.hits] == [0, 2, 0]


def test_a_hot_pixel_is_not_a_hit(triple):
    place = empty_pixel(triple)
    given = []
    for e in exposures(triple):
        image = e.frame.image.copy()
        image[place[0], place[1] : place[1] + 2] += 1500
        given.append(replace(e, frame=replace(e.frame, image=image)))
    labelled = Comparison()(given)
    for hits, ignore in zip(labelled.hits, labelled.ignore, strict=True):
        assert not hits[place]
        assert ignore[place] & IGNORE_HOT
        assert ignore[place] & IGNORE_STATIC


def dithered(offsets, fwhms, hot=(), stars=40, side=300, seed=0, clouds=(), hits=()) -> list[Exposure]:
    """Simulate exposures (side, side) of a field, at offsets in pixels; hot pixels stay in place.

    Exposures whose number is in ``clouds`` have 5 % of the light. ``hits`` are the places in all others of hits of 10
    sigma a pixel, three pixels long, each moved by 20 columns from one exposure to the next.
    """
    rng = np.random.default_rng(seed)
    reach = np.abs(offsets).max()
    places, fluxes = rng.uniform(-reach, side + reach, (stars, 2)), 10 ** rng.uniform(3.5, 4.8, stars)
    rows, columns = np.mgrid[:side, :side]
    given = []
    for number, (offset, fwhm) in enumerate(zip(np.array(offsets), fwhms, strict=True)):
        light = np.full((side, side), 300.0)
        for (row, column), flux in zip(places + offset, fluxes * (0.05 if number in clouds else 1), strict=True):
            sigma2 = (fwhm / 2.355) ** 2
            light += flux / (2 * np.pi * sigma2) * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2 / sigma2)
        image = rng.poisson(light) + rng.normal(0, 8, light.shape)
        for row, column in hot:
            image[row, column : column + 3] += rng.poisson(800, 3)
        for row, column in hits if number not in clouds else ():
            image[row, column + 20 * number : column + 20 * number + 3] += 190
        frame = Frame((image / 2).astype(np.float32), 2.0, 8.0, 60_000.0, 60.0, band="r", name=f"frame{number}")
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0})
        header.update({"CRPIX1": side / 2 + offset[1], "CRPIX2": side / 2 + offset[0]})
        header.update({"CD1_1": -1 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1 / 3600, "FILTER": "r"})
        given.append(Exposure(frame, header))
    return given


def test_hot_pixels_are_no_hits_where_an_exposure_overlaps_no_other():
    hot = np.random.default_rng(5).integers(12, 285, (60, 2))
    labelled = Comparison()(dithered([(0, 0), (15, 12), (-15, -10)], [3.0] * 3, hot))
    assert sum(int(hits.sum()) for hits in labelled.hits) <= 6  # of 3 x 180 hot pixels


def test_dark_pixels_make_no_hits_in_dithered_exposures():
    given = dithered([(0, 0), (7.3, -4.2), (-9.6, 5.5)], [3.0] * 3, side=200)
    for exposure in given:
        exposure.frame.image[60:140, 90] = 0  # a dead column, and pixels that were set to zero
        exposure.frame.image[[30, 50, 150, 160], [40, 150, 60, 120]] = 0
    labelled = Comparison()(given)
    assert sum(int(hits.sum()) for hits in labelled.hits) == 0
    assert not any("trail" in note for note in labelled.notes)


@pytest.mark.parametrize("clouds", [(1,), (1, 2)])
def test_hits_are_not_sky_where_other_exposures_were_taken_through_clouds(clouds):
    places = [(row, 15) for row in range(20, 160, 8)]
    offsets = [(0, 0), (7.3, -4.2), (-9.6, 5.5), (3.1, 9.2)][: 4 if len(clouds) == 1 else 3]
    labelled = Comparison()(dithered(offsets, [3.0] * len(offsets), side=170, clouds=clouds, hits=places))
    found = np.array([[labelled.hits[0][row, column : column + 3].any() for row, column in places]])
    ignored = np.array([[labelled.ignore[0][row, column : column + 3].any() for row, column in places]])
    assert (found | ignored).all()
    assert found.mean() > 0.5 or len(clouds) > 1
    assert any("much shallower (clouds?)" in note for note in labelled.notes) == (len(clouds) > 1)


@pytest.mark.slow
def test_stars_that_few_exposures_show_are_no_hits_whatever_the_seeing():
    offsets = [(70 * row, 70 * column) for row in (0, -1, 1) for column in (0, -1, 1)]
    seeing = [3.0, 3.6, 2.2, 4.2, 2.4, 4.0, 2.3, 3.8, 2.5]
    labelled = Comparison()(dithered(offsets, seeing, stars=150, seed=3))
    assert sum(int(hits.sum()) for hits in labelled.hits) == 0


def test_a_hit_on_a_source_is_marked_as_brighter_than_in_the_other_exposures(triple, labelled):
    given = exposures(triple)
    place = np.argwhere(labelled.ignore[1] == IGNORE_SOURCE)[0]
    image = given[1].frame.image.copy()
    image[tuple(place)] += 20_000
    given[1] = replace(given[1], frame=replace(given[1].frame, image=image))
    bits = [ignore[tuple(place)] for ignore in Comparison()(given).ignore]
    assert [bool(one & IGNORE_BRIGHTER) for one in bits] == [False, True, False]


def test_the_bits_of_the_ignore_mask_give_the_reason(triple, labelled):
    for e, ignore in zip(triple.exposures, labelled.ignore, strict=True):
        edge = np.ones(ignore.shape, bool)
        edge[10:-10, 10:-10] = False
        assert np.array_equal((ignore & IGNORE_BOUNDARY) > 0, edge)
        assert (ignore[e.light > 10 * e.noise] & IGNORE_SOURCE).all()
        unseen = np.mean((ignore & IGNORE_NO_DATA) > 0)
        assert 0 < unseen < 0.1  # the dither moves a few rows and columns out of the others
    assert not any((hits & (ignore > 0)).any() for hits, ignore in zip(labelled.hits, labelled.ignore, strict=True))


def test_bad_pixels_of_a_frame_are_marked_as_no_data(triple):
    first, *others = exposures(triple)
    bad = np.zeros(first.frame.shape, bool)
    bad[100:110, 150] = True
    labelled = Comparison()([replace(first, frame=replace(first.frame, bad=bad)), *others])
    assert (labelled.ignore[0][bad] & IGNORE_NO_DATA).all()


def test_more_than_three_frames_can_be_compared():
    triple = simulate_triple("2m0", [4, 11], (160, 160), frames=4, rate=20)
    labelled = Comparison()(exposures(triple))
    assert len(labelled.hits) == 4
    assert agreement(labelled, triple).recall > 0.9


def test_the_expected_image_leaves_out_hits_of_other_frames():
    stack = np.array([[[10.0, 10]], [[500, 12]], [[np.nan, 14]]], np.float32)
    mean, variance, known = clipped_mean(stack, np.full(stack.shape, 9, np.float32))
    assert mean.tolist() == [[10, 12]]
    assert known.tolist() == [[2, 3]]
    assert variance[0, 1] == pytest.approx((9 + 12) / 3)


def test_the_flux_ratio_of_two_frames_is_that_of_their_stars():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :120]
    stars = sum(3000 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in rng.uniform(15, 105, (8, 2)))
    one, other = (scale * stars + rng.normal(0, 5, stars.shape) for scale in (1.0, 0.7))
    ratio = flux_ratio(one.astype(np.float32), other.astype(np.float32), 5.0, guess=1.0)
    assert ratio == pytest.approx(1 / 0.7, rel=0.02)
    empty = rng.normal(0, 5, (2, 120, 120)).astype(np.float32)
    assert flux_ratio(*empty, 5.0, guess=1.25) == 1.25


def empty_pixel(triple) -> tuple[int, int]:
    """Find a pixel without a hit or a source near it in any frame."""
    busy = np.any([(e.charge > 0) | (e.light > 0.5 * e.noise) for e in triple.exposures], axis=0)
    for row in range(60, 240, 7):
        for column in range(60, 240, 7):
            if not busy[row - 12 : row + 13, column - 12 : column + 13].any():
                return row, column
    raise AssertionError("no empty pixel in the field")


def without_wcs(header):
    bare = header.copy()
    for word in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "PC1_1", "PC2_2", "CDELT1", "CDELT2"):
        bare.remove(word, ignore_missing=True)
    return bare


# ------------------------------------------------------------------------------------------------ invalid exposures


def sky(name: str, shape=(100, 100), **changes) -> Exposure:
    rng = np.random.default_rng(len(name) + ord(name[-1]))
    known = dict(gain=1.0, read_noise=5.0, saturation=1e5, exptime=120.0, band="r") | changes
    image = rng.normal(200, 15, shape).astype(np.float32)
    return Exposure(Frame(image=image, name=name, **known), fits.Header())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([sky("a"), sky("b")], "expected three exposures of one field or more, got 2"),
        (
            [sky("a"), sky("b"), sky("c", (100, 90))],
            r"a and c: expected frames of one shape, got \(100, 100\) and",
        ),
        ([sky("a"), sky("b", band="g"), sky("c")], "a and b: expected one filter, got 'r' and 'g'"),
        ([sky("a"), sky("b", exptime=60.0), sky("c")], "a and b: expected like exposures, got 120 s and 60 s"),
        ([sky("a", exptime=0.0), sky("b"), sky("c")], "a: expected an exposure of some seconds, got 0 s"),
        ([sky("a"), sky("b"), sky("a")], r"a \(exposure 1\) and a \(exposure 3\): their pixels are the same"),
        ([sky("a"), sky("b"), sky("c")], "a: its header has no solved WCS, and a: fewer than three stars"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Comparison()(given)


def test_frames_of_different_fields_are_refused(fields):
    mixed = [exposures(t)[0] for t in (*fields["1m0"], fields["2m0"][0])]
    for k, e in enumerate(mixed):
        header = e.header.copy()
        header["FILTER"] = "rp"
        mixed[k] = replace(e, header=header, frame=replace(e.frame, exptime=100.0, name=f"n{k}"))
    with pytest.raises(ValueError, match="are they of one field"):
        Comparison(align="stars")(mixed)


# ------------------------------------------------------------------------------------------------------- alignment


def with_wcs_error(triple, offset):
    """Shift the WCS of each exposure by ``offset`` pixels more than that of the one before."""
    moved = []
    for number, e in enumerate(exposures(triple)):
        header = e.header.copy()
        header["CRPIX1"] += offset * number
        header["CRPIX2"] -= offset * number / 2
        moved.append(replace(e, header=header))
    return moved


@pytest.mark.parametrize("offset", [1.5, 4, 8, 15])
@pytest.mark.parametrize(("telescope", "seed"), [("1m0", 1), ("2m0", 0)])
def test_an_inaccurate_wcs_is_detected_and_the_stars_align_the_frames(fields, caplog, telescope, seed, offset):
    triple = fields[telescope][seed]
    labelled = Comparison()(with_wcs_error(triple, offset))
    found = agreement(labelled, triple)
    assert found.recall >= 0.9
    assert found.precision >= 0.95
    assert labelled.notes[0].startswith("aligned by their stars: at worst ")
    assert "the WCS does not fit; the exposures are aligned by their stars" in caplog.text


def test_an_accurate_wcs_is_used_and_its_residual_is_noted(labelled):
    assert labelled.notes[0].startswith(("aligned by their WCS: at worst ", "aligned by their WCS; too few stars"))


def test_an_inaccurate_wcs_is_refused_under_align_wcs(fields):
    with pytest.raises(ValueError, match=r"bright stars lie \d+\.\d px from where they should be"):
        Comparison(align="wcs")(with_wcs_error(fields["1m0"][1], 8))


def test_an_inaccurate_wcs_and_too_few_stars_are_an_error(fields):
    with pytest.raises(ValueError, match="the WCS does not fit, and "):
        Comparison()(with_wcs_error(fields["0m4"][0], 8))


def test_frames_across_a_meridian_flip_are_aligned_by_their_stars(fields):
    rich = fields["1m0"][1]
    given = exposures(rich)
    given[1] = replace(given[1], frame=replace(given[1].frame, image=given[1].frame.image[::-1, ::-1].copy()))
    labelled = Comparison()([replace(e, header=without_wcs(e.header)) for e in given])
    turned = replace(labelled, hits=(labelled.hits[0], labelled.hits[1][::-1, ::-1], labelled.hits[2]))
    ignore = (labelled.ignore[0], labelled.ignore[1][::-1, ::-1], labelled.ignore[2])
    assert agreement(replace(turned, ignore=ignore), rich).precision >= 0.95


def test_a_flip_that_the_wcs_lacks_is_found_by_few_stars():
    given = dithered([(0, 0), (4, 3), (2, -3)], [3.0] * 3, stars=6, side=150, seed=4)
    frame = given[2].frame
    given[2] = replace(given[2], frame=replace(frame, image=frame.image[::-1, ::-1].copy()))
    labelled = Comparison()(given)
    assert labelled.notes[0].startswith("aligned by their stars: ")
    assert not any(hits.any() for hits in labelled.hits)


def test_a_wcs_of_another_field_is_refused(fields):
    with pytest.raises(ValueError, match="they share no sky"):
        Comparison(align="wcs")(with_wcs_error(fields["1m0"][1], 5000))


# -------------------------------------------------------------------------------------------------- duplicate frames


def test_files_of_one_name_in_different_folders_are_accepted(triple):
    given = [replace(e, frame=replace(e.frame, name="a")) for e in exposures(triple)]
    assert [e.frame.name for e in Comparison()(given).exposures] == [f"a (exposure {n})" for n in (1, 2, 3)]


def test_a_duplicate_frame_is_refused_as_link_copy_or_gzip(triple, tmp_path):
    paths = [tmp_path / str(n) / "frame.fits" for n in range(3)]
    for path, e in zip(paths, exposures(triple), strict=True):
        path.parent.mkdir()
        write_exposure(e, path)
    main([*map(str, paths), "-o", str(tmp_path / "x_masks.fits")])
    link, copy, packed = tmp_path / "link.fits", tmp_path / "copy.fits", tmp_path / "packed.fits.gz"
    link.symlink_to(paths[0])
    shutil.copy(paths[0], copy)
    packed.write_bytes(gzip.compress(paths[0].read_bytes()))
    for again in (paths[0], link, copy, packed):
        with pytest.raises(SystemExit, match="their pixels are the same: a frame is given twice"):
            main([*map(str, paths), str(again)])


def test_another_reduction_of_the_same_frame_is_refused(triple):
    given = exposures(triple)
    scaled = replace(given[0].frame, image=given[0].frame.image * np.float32(1.01) + np.float32(3), name="b")
    with pytest.raises(ValueError, match="their noise is the same: a frame is given twice"):
        Comparison()([*given, replace(given[0], frame=scaled)])
    headers = [e.header.copy() for e in given]
    for header, second in zip(headers, (1, 2, 1), strict=True):
        header["DATE-OBS"] = f"2019-01-01T10:00:0{second}.25"
    with pytest.raises(ValueError, match=r"both began at 2019-01-01T10:00:01\.25: a frame is given twice"):
        Comparison()([replace(e, header=h) for e, h in zip(given, headers, strict=True)])
    for number, header in enumerate(headers):
        header["CCDNUM"] = number
    check_distinct([Fingerprint.of(replace(e, header=h)) for e, h in zip(given, headers, strict=True)])


# ----------------------------------------------------------------------- trails and moving objects, which are no hits


def line_image(shape, start, end, sigma, peak, period=0.0):
    """Draw a straight line (H, W) from one position (x, y) to another, dashed if a period is given."""
    y, x = np.indices(shape).astype(float)
    length = np.hypot(end[0] - start[0], end[1] - start[1])
    along, across = np.subtract(end, start) / length, (y - start[1], x - start[0])
    t = across[1] * along[0] + across[0] * along[1]
    d = across[0] * along[0] - across[1] * along[1]
    beyond = np.maximum(0, np.maximum(-t, t - length))
    light = peak * np.exp(-(d**2 + beyond**2) / 2 / sigma**2)
    return light * (np.sin(2 * np.pi * t / period) > 0) if period else light


def add_light(triple, light, number=1):
    """Add light (H, W), with photon noise, to one exposure; return all exposures."""
    given = exposures(triple)
    lit = given[number].frame.image + np.random.default_rng(1).poisson(light)
    given[number] = replace(given[number], frame=replace(given[number].frame, image=lit.astype(np.float32)))
    return given


@pytest.fixture(scope="module")
def large_field():
    return simulate_triple("1m0", [1, 11], (400, 400), rate=20)


@pytest.mark.parametrize(
    "lines",
    [
        [((-10, 60), (410, 340), 20)],
        [((-10, 60), (410, 340), 4)],
        [((200, -10), (200, 410), 8)],
        [((150, 180), (410, 220), 8)],
        [((-10, 60), (410, 340), 15, 70)],
        [((-10, 60), (410, 340), 10), ((-10, 80), (410, 360), 10)],
        [((330, -10), (410, 70), 10)],
    ],
    ids=["bright", "faint", "along a column", "ends inside", "dashed", "two in parallel", "across a corner"],
)
def test_a_satellite_trail_is_noted_and_ignored(large_field, lines):
    noise = float(np.median(large_field.exposures[1].noise))
    light = sum(line_image((400, 400), a, b, 2.2, peak * noise, *period) for a, b, peak, *period in lines)
    labelled = Comparison()(add_light(large_field, light))
    alone = (light > noise) & (large_field.exposures[1].charge < noise)
    assert (labelled.hits[1] & alone).sum() <= 2
    assert (labelled.ignore[1] & IGNORE_TRAIL).any()
    assert not (labelled.ignore[0] & IGNORE_TRAIL).any()
    assert sum("a trail from" in note and "is ignored" in note for note in labelled.notes) >= len(lines)
    assert agreement(labelled, large_field).recall >= 0.9, "hits beside the trail are kept"


@pytest.mark.parametrize(("start", "end"), [((60, 60), (140, 110)), ((100, 300), (100, 360)), ((250, 60), (320, 190))])
def test_a_long_particle_track_is_a_hit(large_field, start, end):
    noise = large_field.exposures[1].noise
    track = line_image((400, 400), start, end, 0.5, 20 * float(np.median(noise)))
    labelled = Comparison()(add_light(large_field, track))
    core = (track > 5 * noise) & ((labelled.ignore[1] & ~np.uint8(IGNORE_TRAIL)) == 0)
    assert (labelled.hits[1] & core).sum() > 0.95 * core.sum()
    assert not any("a trail from" in note for note in labelled.notes)


@pytest.mark.parametrize("step", [0.7, 2.0, 4.0, 30.0])
def test_an_asteroid_is_not_a_hit_however_fast_it_moves(large_field, step):
    noise = float(np.median(large_field.exposures[1].noise))
    place = np.array(empty_pixel(large_field)[::-1], float)
    given = exposures(large_field)
    lights = []
    for n in range(3):
        here = np.add(place, (step * (n - 1), 0))
        lights.append(line_image((400, 400), here, np.add(here, (0.01, 0)), 2.2, 30 * noise))
        given[n] = add_light(large_field, lights[n], n)[n]
    labelled = Comparison()(given)
    wrong = [int((m & (light > noise)).sum()) for m, light in zip(labelled.hits, lights, strict=True)]
    assert max(wrong) <= 2, wrong


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"threshold": 2.0}, "threshold=2.0, low_threshold=2.5: expected threshold >= low_threshold > 0"),
        ({"min_size": 0}, "min_size=0: expected 1 or more"),
        ({"seeing_tolerance": float("nan")}, "seeing_tolerance=nan: expected 0 or more"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Comparison(**settings)


# --------------------------------------------------------------------------------------------------- the command


def test_the_command_labels_fits_files(triple, labelled, tmp_path, capsys):
    paths = [tmp_path / f"{e.frame.name}.fits" for e in exposures(triple)]
    for path, e in zip(paths, exposures(triple), strict=True):
        write_exposure(e, path)
    main([str(path) for path in paths])
    output = tmp_path / f"{paths[0].stem}_3frms_masks.fits"
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    found = read_sequence(output)
    assert found.data_origin == "simulated"  # the headers of the frames say so
    assert [e.frame.name for e in found.exposures] == [p.stem for p in paths]
    for a, b, c, d in zip(found.hits, labelled.hits, found.ignore, labelled.ignore, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(c, d)


def test_an_image_of_several_is_labelled(triple, labelled, tmp_path):
    paths = [tmp_path / f"{e.frame.name}.fits" for e in exposures(triple)]
    for path, e in zip(paths, exposures(triple), strict=True):
        first, second = fits.ImageHDU(np.ones((8, 8)), name="CCD1"), fits.ImageHDU(e.frame.image, name="CCD2")
        second.header.update(science_header(e))
        fits.HDUList([fits.PrimaryHDU(), first, second]).writeto(path)
    words = [*map(str, paths), "--ext", "CCD2"]
    main([*words, "-o", str(tmp_path / "x_masks.fits")])
    found = read_sequence(tmp_path / "x_masks.fits")
    assert all(np.array_equal(one, other) for one, other in zip(found.hits, labelled.hits, strict=True))
    with pytest.raises(SystemExit, match="--truth and --ext"):
        main([*words, "--truth", str(tmp_path)])


def frame_files(folder):
    """Write the files of three frames, of which only names and checksums matter."""
    paths = [folder / f"{name}.fits" for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_truth_planes_have_the_hits_with_a_ring_and_what_is_not_known(triple, labelled, tmp_path):
    real = replace(
        labelled, exposures=tuple(replace(e, header=without(e.header, "SIMULATD")) for e in labelled.exposures)
    )
    frames = frame_files(tmp_path)
    write_planes(real, frames, tmp_path / "truth")
    assert fits.getheader(tmp_path / "truth" / "b_truth.fits.fz", "TRUTH")["CRINPUT"] == sha256_of(frames[1])
    plane = fits.getdata(tmp_path / "truth" / "b_truth.fits.fz", "TRUTH")
    assert np.array_equal(plane == 3, labelled.ignore[1] > 0)
    assert np.array_equal(plane == 1, labelled.hits[1])
    ring = dilate(labelled.hits[1]) & ~labelled.hits[1] & (labelled.ignore[1] == 0)
    assert np.array_equal(plane == 2, ring)
    with pytest.raises(ValueError, match="two truth planes of one name"):
        write_planes(real, frames[:1] * 3, tmp_path / "truth")
    with pytest.raises(ValueError, match="expected real exposures, got simulated ones"):
        write_planes(labelled, frames, tmp_path / "truth")


@pytest.mark.parametrize("earlier", [False, True])
def test_truth_planes_are_products_and_no_images(tmp_path, earlier):
    path = tmp_path / "a_truth.fits.fz"
    write_frame(Frame(np.ones((40, 30), np.float32), 1.0, 1.0, 1e5, 60.0), tmp_path / "a.fits")
    write_plane(path, np.zeros((40, 30), np.uint8), tmp_path / "a.fits")
    if earlier:  # written without a card in the primary header
        with fits.open(path) as hdus:
            fits.HDUList([fits.PrimaryHDU(), hdus["TRUTH"].copy()]).writeto(path.with_name("b_truth.fits.fz"))
        path.unlink()
    found, products = inputs_of([tmp_path])
    assert [file.name for file, _ in found] == ["a.fits"]
    for product in products:
        with open_fits(product) as hdus:
            assert not all_images(product, hdus)
    assert len(products) == 1


def without(header: fits.Header, card: str) -> fits.Header:
    """Copy a header without a card."""
    copy = header.copy()
    del copy[card]
    return copy


def test_the_command_gives_an_error_of_one_line(triple, tmp_path):
    path = tmp_path / "one.fits"
    write_exposure(exposures(triple)[0], path)
    with pytest.raises(SystemExit, match=r"^error: expected three exposures of one field or more, got 1$"):
        main([str(path)])
    with pytest.raises(SystemExit, match=r"^error: -o and --truth: expected one of them$"):
        main([str(path), "-o", "a_masks.fits", "--truth", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: no such FITS file: "):
        main([str(tmp_path / name) for name in ("a.fits", "b.fits", "c.fits")])


def write_exposure(exposure: Exposure, path):
    fits.PrimaryHDU(exposure.frame.image, science_header(exposure)).writeto(path)


def test_the_gain_can_be_given_for_a_header_without_one(triple, tmp_path):
    frame = exposures(triple)[0].frame
    write_frame(frame, tmp_path / "a.fits")
    assert read_exposure(tmp_path / "a.fits", gain=2.0).frame.gain == 2.0


def test_labels_of_rates_are_read_as_the_counts_that_they_store(labelled, triple, tmp_path):
    exposure = exposures(triple)[0]
    header = science_header(exposure)
    header["BUNIT"] = "adu/s"
    fits.writeto(tmp_path / "rate.fits", exposure.frame.image / np.float32(exposure.frame.exptime), header)
    read = read_exposure(tmp_path / "rate.fits")
    write_sequence(replace(labelled, exposures=(read, *labelled.exposures[1:])), tmp_path / "of_rates_masks.fits")
    with fits.open(tmp_path / "of_rates_masks.fits") as hdus:
        fits.writeto(tmp_path / "stored.fits", hdus["SCI", 0].data, hdus["SCI", 0].header)
    np.testing.assert_allclose(read_exposure(tmp_path / "stored.fits").frame.image, exposure.frame.image, rtol=1e-5)


def test_the_header_of_an_exposure_is_that_of_the_image(triple, tmp_path):
    """Read the header of the image, not of a mask before it, also if the image has three dimensions."""
    exposure = exposures(triple)[0]
    header, data = science_header(exposure), exposure.frame.image[None]
    header["CRPIX1"] = 77.0
    mask = fits.ImageHDU(np.zeros(data.shape[1:], np.uint8), name="BPM")
    both = tmp_path / "both.fits"
    fits.HDUList([fits.PrimaryHDU(), mask, fits.ImageHDU(data, header, name="SCI")]).writeto(both)
    exposure = read_exposure(both)
    assert exposure.header["CRPIX1"] == 77
    assert exposure.frame.shape == data.shape[1:]


@pytest.mark.parametrize("blank", [1, -32768])
def test_the_blank_of_an_integer_image_does_not_apply_to_the_written_masks(triple, labelled, tmp_path, blank):
    header = labelled.exposures[0].header.copy()
    header["BLANK"] = blank
    sequence = replace(labelled, exposures=tuple(replace(e, header=header) for e in labelled.exposures))
    write_sequence(sequence, tmp_path / "a_masks.fits")
    again = read_sequence(tmp_path / "a_masks.fits")
    for before, after in zip(labelled.hits + labelled.ignore, again.hits + again.ignore, strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_unreadable_wcs_error_flag_means_no_wcs():
    header = fits.Header.fromstring("WCSERR  =                  nan".ljust(80) + "END".ljust(80))
    assert celestial(header) is None


def test_truth_planes_do_not_replace_manual_labels(labelled, tmp_path):
    real = replace(
        labelled, exposures=tuple(replace(e, header=without(e.header, "SIMULATD")) for e in labelled.exposures)
    )
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((4, 4), np.uint8), name=name) for name in ("TRUTH", "TOUCHED"))]
    fits.HDUList(hdus).writeto(tmp_path / "b_truth.fits")
    with pytest.raises(ValueError, match=r"b_truth\.fits has manual labels"):
        write_planes(real, frame_files(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.glob("*_truth*")] == ["b_truth.fits"]
