"""Test sources of real sky and real hits: exposures from a coadd, hit footprints, cutouts with pipeline flags."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from cosmicgate.data.background import background
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.simulation.readout import read_out
from cosmicgate.data.simulation.sky import BANDS
from cosmicgate.data.sources import Coadd, Files, FlaggedCutouts, Footprints
from cosmicgate.data.sources.footprints import scatter
from cosmicgate.data.splits import SPLITS
from cosmicgate.io.fits.frames import read_frame
from helpers.fits_files import write_cutout


@pytest.fixture
def footprints(real):
    return Footprints(str(real("cr/itl_cosmic_rays.fits.gz")), (256, 256))


@pytest.fixture
def table(real):
    """Read the pixel values of each hit from the table, independently of the package: number -> electrons."""
    with fits.open(real("cr/itl_cosmic_rays.fits.gz")) as hdus:
        rows = hdus[1].data
        lines = [(int(n), np.asarray(v, float)) for n, v in zip(rows["fp_id"], rows["pixel_values"], strict=True)]
    return {n: np.concatenate([v for number, v in lines if number == n]) for n in {number for number, _ in lines}}


@pytest.fixture
def cutouts(real):
    return FlaggedCutouts(str(real("decam/cutouts") / "*.fits"))


# --------------------------------------------------------------------------------------------------------- coadds


@pytest.mark.parametrize("band", ["g", "z"])
def test_an_exposure_from_a_coadd_has_the_sky_and_noise_of_its_band(real, monkeypatch, band):
    monkeypatch.setitem(BANDS, band, replace(BANDS[band], sky=(5.0, 5.0)))
    source = Coadd(str(real("decam/des_coadd_g.fits.fz")), frames={"validation": 1}, bands=(band,))
    scene = source.lazy_frames("validation")[0].build()
    level, deviation = background(read_out(scene, np.random.default_rng(0)))
    assert level == pytest.approx(5.0 * 90, rel=0.02)
    photons = level * scene.gain + scene.read_noise**2
    excess = (deviation * scene.gain) ** 2 / photons
    assert 1.0 < excess < 1.25  # faint sources, and the noise of the coadd itself
    assert scene.image.dtype == np.float32


def test_an_exposure_from_a_coadd_keeps_the_flux_of_stars(real):
    path = real("decam/des_coadd_g.fits.fz")
    source = Coadd(str(path), frames={"validation": 1}, bands=("g",))
    scene = source.lazy_frames("validation")[0].build()
    coadd = read_frame(path, gain=1.0, read_noise=0.0, exptime=1.0).image
    start = round(0.6 * coadd.shape[1]) + source.gap // 2
    part = coadd[:, start : start + scene.shape[1]]
    with fits.open(path) as hdus:
        masked = np.asarray(hdus["MASK"].data)[:, start : start + scene.shape[1]] != 0
    bright = (part > 100) & ~masked
    ratio = (scene.image - np.median(scene.image))[bright].sum() / part[bright].sum()
    assert ratio == pytest.approx(
        90 * 10 ** (0.4 * (25.001 - 30)), rel=0.02
    )  # ADU of an exposure per count of the coadd


# -------------------------------------------------------------------------------------------------------- footprints


def test_each_of_the_1059_hits_of_the_table_is_in_one_split(footprints):
    everything = replace(footprints, min_pixels=0, min_charge=-np.inf)
    numbers = [hit for which in SPLITS for hit in everything.hits(which)]
    assert len(numbers) == len(set(numbers)) == 1059


def test_small_hits_are_dropped(footprints, table):
    kept = {hit for which in SPLITS for hit in footprints.hits(which)}
    large = {n for n, v in table.items() if np.count_nonzero(v) >= 3 and v.sum() >= 400}
    assert kept == large
    assert len(kept) == 668


def test_a_hit_keeps_its_charge_at_any_position(footprints, table):
    # Each connected patch of charge that touches no other hit and no edge has the charge of a hit of the table.
    hits = np.concatenate([lazy.build().hits for lazy in footprints.lazy_frames("test")], axis=1)
    known = sorted(table[n].sum() for n in footprints.hits("test"))
    labels, number = ndimage.label(hits != 0, np.ones((3, 3)))
    charges = ndimage.sum(hits, labels, range(1, number + 1))
    nearest = np.min(np.abs(charges[:, None] - np.array(known)), axis=1)
    assert np.mean(nearest < 1) > 0.7  # the others overlap or touch an edge


def test_scatter_keeps_the_charge_of_hits_that_lie_inside_and_cuts_the_others():
    stamp = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    rng = np.random.default_rng(0)
    whole, cut, orientations = 0, 0, set()
    for _ in range(300):
        image = scatter([7], {7: stamp}, (8, 9), rng)
        edge = image.copy()
        edge[1:-1, 1:-1] = 0
        if edge.any():
            cut += image.sum() < stamp.sum()
        else:
            whole += 1
            assert image.sum() == stamp.sum()
            orientations.add(image[image > 0].tobytes())
    assert image.shape == (8, 9)
    assert whole > 50
    assert cut > 50
    assert len(orientations) == 8  # rotated and mirrored
    assert scatter([7, 7], {7: np.full((1, 1), 5, np.float32)}, (1, 1), rng) == 10  # two overlapping hits


def test_a_dark_of_footprints_has_the_configured_rate(footprints):
    lazy_frames = replace(footprints, frames={"train": 4}, rate=20.0).lazy_frames("train")
    counted = [ndimage.label(r.build().hits > 0, np.ones((3, 3)))[1] for r in lazy_frames]
    expected = [20.0 * exptime * 256 * 256 / (4096 * 2048) for exptime in (1200, 800, 720, 600)]
    assert 0.7 < sum(counted) / sum(expected) < 1.1  # overlapping hits count as one


# -------------------------------------------------------------------------------------------------------------- files


def test_with_by_folder_the_files_of_a_folder_are_in_one_split(tmp_path):
    for number in range(24):
        path = tmp_path / f"field-{number % 4}" / f"{number}.fits"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    source = Files(str(tmp_path / "*" / "*.fits"), by_folder=True)
    splits = {which: [int(lazy.name) for lazy in source.lazy_frames(which)] for which in SPLITS}
    assert sorted(number for own in splits.values() for number in own) == list(range(24))
    fields = [{number % 4 for number in own} for own in splits.values()]
    assert all(fields)
    assert sum(len(own) for own in fields) == 4
    named = {(int(lazy.name) % 4, lazy.field) for which in SPLITS for lazy in source.lazy_frames(which)}
    assert len(named) == len({field for _, field in named}) == 4


# ------------------------------------------------------------------------------------------------------------ cutouts


def test_the_real_cutouts_have_five_flagged_hits(cutouts):
    lazy_frames = cutouts.lazy_labelled_frames()
    assert len({lazy.name for lazy in lazy_frames}) == len(lazy_frames) == 31
    assert len({lazy.name[: len("150110_053718")] for lazy in lazy_frames}) == 29
    labelled = [lazy.build() for lazy in lazy_frames]
    cores = [truth == CORE for _, truth, _ in labelled]
    assert sum(int(core.sum()) for core in cores) == 449
    assert sum(core.any() for core in cores) == 4
    assert sum(ndimage.label(core, np.ones((3, 3)))[1] for core in cores) == 5
    for lazy, (frame, truth, facts) in zip(lazy_frames, labelled, strict=True):
        assert frame.shape == truth.shape
        assert frame.name == facts["name"] == lazy.name
        assert 3 < frame.gain < 5
        assert 4 < frame.read_noise < 12
        assert 45 <= frame.exptime <= 209
        assert frame.band in {"g", "r", "z"}


def test_flagged_hits_are_brighter_than_their_ring(cutouts):
    for lazy in cutouts.lazy_labelled_frames():
        frame, truth, _ = lazy.build()
        if (truth == CORE).any():
            image = frame.image
            assert np.median(image[truth == CORE]) > np.median(image[truth == RING])


def test_flags_are_read_as_codes_or_as_bits(real):
    older = FlaggedCutouts(str(real("decam/cutouts") / "*_V3.5.3.fits"))
    truths = {lazy.name: lazy.build()[1] for lazy in older.lazy_labelled_frames()}
    bits = "150110_053718_S4_100x101_V3.5.3"  # 2: saturated, 64: bleeding
    with fits.open(real(f"decam/cutouts/{bits}.fits")) as hdus:
        assert set(np.unique(hdus["DQ"].data)) == {0, 2, 64}
    assert set(np.unique(truths[bits])) == {SKY}
    codes = "150110_053718_S11_100x101_V3.5.3"  # of the same night and version, 3: saturated, 4: bleeding
    assert set(np.unique(truths[codes])) == {SKY}


@pytest.mark.parametrize(
    ("flags", "expected", "cards"),
    [
        (
            [0, 1, 2, 3, 4, 5],
            [SKY, IGNORED, IGNORED, SKY, SKY, CORE],
            {},
        ),  # codes
        ([0, 1, 2, 16, 64, 18], [SKY, IGNORED, SKY, CORE, SKY, CORE], {}),  # bits
        ([0, 1, 2, 4, 5, 8], [SKY, IGNORED, SKY, IGNORED, IGNORED, IGNORED], {"PLVER": "V2.3.1"}),  # bits, no hit
    ],
)
def test_flags_become_truth(tmp_path, flags, expected, cards):
    quality = np.zeros((9, 9 * len(flags)), np.int32)
    quality[4, 4::9] = flags
    write_cutout(tmp_path / "a.fits", quality, **cards)
    truth = FlaggedCutouts(str(tmp_path / "*.fits")).lazy_labelled_frames()[0].build()[1]
    assert truth[4, 4::9].tolist() == expected
    around = truth[3, 4::9]
    assert around.tolist() == [RING if code == CORE else SKY for code in expected]


PLACE = {"MJD-OBS": 57032.2, "CCDNUM": 28, "PLVER": "V4.8.2", "CRPIX1": 1854.2, "CRPIX2": -1024.0}


@pytest.mark.parametrize(
    ("cards", "kept"),
    [
        ({"CRPIX1": 1855.2, "CRPIX2": -1023.0}, ["a"]),  # one pixel apart, as in the real cutouts
        ({"PLVER": "V4.8.2a"}, ["b"]),
        ({"PLVER": "V4.10"}, ["b"]),
        ({"CRPIX2": -1016.0}, ["a"]),  # a row in common
        ({"CRPIX2": -1015.0}, ["a", "b"]),  # side by side
        ({"CCDNUM": 22}, ["a", "b"]),
        ({"MJD-OBS": 57032.3}, ["a", "b"]),
        ({"PLVER": "V4.8.2"}, ["a", "b"]),  # neither is newer
        ({"CCDNUM": None}, ["a", "b"]),
    ],
)
def test_of_duplicate_reductions_the_newest_is_used(tmp_path, caplog, cards, kept):
    for name, own in (("a", PLACE), ("b", PLACE | {"PLVER": "V3.9"} | cards)):
        own = {word: value for word, value in own.items() if value is not None}
        write_cutout(tmp_path / f"{name}.fits", np.zeros((9, 9), np.int32), **own)
    with caplog.at_level(logging.INFO):
        assert [lazy.name for lazy in FlaggedCutouts(str(tmp_path / "*.fits")).lazy_labelled_frames()] == kept
    messages = [record.getMessage() for record in caplog.records]
    left = {"a", "b"} - set(kept)
    path = f"{tmp_path}/{{}}.fits is left out: a newer pipeline reduced the same pixels, {kept[0]}.fits"
    assert messages == [path.format(name) for name in left]
    assert [lazy.name for lazy in FlaggedCutouts(str(tmp_path / "*.fits")).lazy_labelled_frames()] == kept
    assert len(caplog.records) == len(messages), "logged once"


def test_a_cutout_without_flags_is_refused_by_name(tmp_path):
    write_cutout(tmp_path / "a.fits", np.zeros((9, 9), np.int32), name="OTHER")
    with pytest.raises(ValueError, match=r"a\.fits: no HDU named DQ among PRIMARY, SCI, OTHER"):
        FlaggedCutouts(str(tmp_path / "*.fits")).lazy_labelled_frames()


def test_the_masked_core_of_a_star_in_a_coadd_is_saturated_and_not_bad(tmp_path):
    image, mask = np.full((60, 60), 2_000.0, np.float32), np.zeros((60, 60), np.uint8)
    mask[20:41, 20:41] = 1
    hdus = [fits.PrimaryHDU(image, fits.Header({"SATURATE": 30_000.0})), fits.ImageHDU(mask, name="MASK")]
    fits.HDUList(hdus).writeto(tmp_path / "coadd.fits")
    scene = (
        Coadd(str(tmp_path / "coadd.fits"), {"train": (0, 1)}, frames={"train": 1}, bands=("z",))
        .lazy_frames("train")[0]
        .build()
    )
    assert not scene.bad.any()
    assert scene.image[30, 30] > scene.saturation > scene.image[30, 20] > 1.2 * scene.image[30, 19]
    exposed = read_out(scene, np.random.default_rng(0))
    column = exposed.image[:, 30] > 0.99 * exposed.saturation
    assert column.sum() > (scene.image[:, 30] > scene.saturation).sum(), "charge bleeds along the column"


@pytest.mark.parametrize("with_mask", [True, False])
def test_pixels_of_a_coadd_without_data_are_bad_and_not_saturated(tmp_path, with_mask):
    image = np.random.default_rng(0).normal(0, 1, (60, 60)).astype(np.float32)
    image[:20] = np.nan
    hdus = [fits.PrimaryHDU(image, fits.Header({"SATURATE": 30_000.0}))]
    hdus += [fits.ImageHDU(np.zeros((60, 60), np.uint8), name="MASK")] * with_mask
    fits.HDUList(hdus).writeto(tmp_path / "coadd.fits")
    source = Coadd(str(tmp_path / "coadd.fits"), {"train": (0, 1)}, frames={"train": 1}, bands=("z",))
    scene = source.lazy_frames("train")[0].build()
    assert (scene.bad == np.isnan(image)).all()
    exposed = read_out(scene, np.random.default_rng(0))
    assert exposed.image.max() < 0.1 * exposed.saturation
