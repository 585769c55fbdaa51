"""Labelled exposures as training data: what counts as sky, and which hits are added where."""

import os
import shutil

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.adaptation.labels import _mark_bad_pixels
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.labelled_exposures import (
    PEDESTAL,
    LabelledExposures,
    check_detector,
    cut_stamps,
    detector,
    truth_of,
)
from cosmicgate.data.lco.io import (
    IGNORE_BOUNDARY,
    IGNORE_BRIGHTER,
    IGNORE_HOT,
    IGNORE_NO_DATA,
    IGNORE_SOURCE,
    IGNORE_STATIC,
    IGNORE_TRAIL,
    Exposure,
    MaskedSequence,
    write_sequence,
)
from cosmicgate.data.patches import CropSampler
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.sources import Footprints, FramesWithTruth
from cosmicgate.data.sources.footprints import stamps, write_stamps
from cosmicgate.data.splits import SPLITS
from helpers.labelled_field import SHAPE, write_labelled_field
from helpers.simulated_frames import generator, sky_frame


@pytest.fixture
def labelled(tmp_path):
    return write_labelled_field(tmp_path)


def data_of(folder, **more):
    splits = {"train": {"a": [0]}, "validation": {"a": [1]}, "test": {"a": [2]}}
    crops = CropSampler(32, 8)
    return LabelledExposures(str(folder), splits, density=2000, windows=crops, validation_windows=crops, **more)


def test_sources_and_static_pixels_are_sky_unless_they_are_brighter_than_elsewhere():
    bits = [
        0,
        IGNORE_SOURCE,
        IGNORE_HOT | IGNORE_STATIC,
        IGNORE_SOURCE | IGNORE_BRIGHTER,
        IGNORE_HOT,
        IGNORE_BOUNDARY,
        IGNORE_NO_DATA,
        IGNORE_TRAIL,
        IGNORE_SOURCE | IGNORE_NO_DATA,
    ]
    ignore = np.zeros((9, 5 * len(bits)), np.uint8)
    ignore[4, 2::5] = bits
    truth = truth_of(np.zeros(ignore.shape, bool), ignore)
    assert truth[4, 2::5].tolist() == [SKY] * 3 + [IGNORED] * 6
    assert truth[4, 3::5].tolist() == [SKY] * 3 + [IGNORED] * 2 + [SKY] * 4, "a ring is around what may be a hit"


def test_a_ring_is_around_each_hit_of_a_test_frame_and_unknown_in_training(labelled):
    data = data_of(labelled)
    data.prepare_data()
    for which in ("train", "validation", "test"):
        for folder in data.split(which):
            frame = load_labelled(folder)
            labels = set(np.unique(frame.truth).tolist())
            assert frame.facts["dilated"] == (which == "test")
            assert CORE in labels
            assert (RING in labels) == (which == "test")
    assert [(one.name, one.data_origin) for one in data.test_sets()] == [
        ("labelled_exposures", "real"),
        ("labelled_exposures_added_hits", "semi-real"),
    ]


def test_a_frame_is_used_as_it_is_and_with_added_hits(labelled):
    data = data_of(labelled)
    data.prepare_data()
    natural, *added = (load_labelled(folder) for folder in data.split("train"))
    assert len(added) == 2
    assert not np.array_equal(added[0].truth, added[1].truth)
    for one in added:
        assert (one.truth == CORE).sum() > (natural.truth == CORE).sum()
        assert ((one.truth == CORE) | (one.truth == IGNORED))[natural.truth == CORE].all()
        changed = one.image != natural.image
        assert changed.any()
        assert (one.truth[changed] != SKY).all(), "charge that was added is labelled, or ignored where it is faint"


def test_hits_are_added_by_the_seed_whenever_the_labels_were_written(labelled):
    def added(seed):
        data = data_of(labelled, seed=seed)
        data.prepare_data()
        return np.stack([load_labelled(folder).image for folder in data.split("train", "added")])

    first = added(0)
    os.utime(labelled / "labels" / "a_masks.fits", (1e9, 1e9))
    assert np.array_equal(added(0), first)
    assert not np.array_equal(added(1), first)


def test_hits_are_added_in_their_own_split_alone(labelled):
    data = data_of(labelled)
    for number, which in enumerate(("train", "validation", "test")):
        peaks = [stamp.max() for stamp in stamps(data._hit_table_path(which), 1, 0).values()]
        assert peaks
        expected = 4.0 * 1000 * (number + 1)  # electrons
        assert all(0.9 * expected < peak < 1.1 * expected for peak in peaks)


def test_hits_of_darks_and_simulated_ones_are_split(labelled, tmp_path):
    from cosmicgate.io.fits.frames import write_frame
    from helpers.simulated_frames import dark_frame, tracks

    darks = []
    for number in range(2):
        darks.append(str(tmp_path / f"dark-{number}.fits"))
        dark = dark_frame(
            np.roll(tracks(8000 + 1000 * number), 40 * number, axis=0), seed=number, name=f"dark-{number}"
        )
        write_frame(dark, tmp_path / f"dark-{number}.fits")
    plain, more = data_of(labelled), data_of(labelled, darks=darks, thickness=20.0, pixel_size=15.0)
    numbers = {which: len(stamps(more._hit_table_path(which), 1, 0)) for which in ("train", "validation", "test")}
    assert all(numbers[which] > 20 + len(stamps(plain._hit_table_path(which), 1, 0)) for which in numbers)
    assert numbers["train"] > 2 * numbers["test"]


def test_a_level_of_darks_in_the_header_is_ours_or_none():
    exposure = Exposure(sky_frame(20.0, SHAPE), fits.Header({PEDESTAL: -100.0, "PEDESTAL": -100.0}))
    assert PEDESTAL not in _mark_bad_pixels(exposure, None).header
    assert _mark_bad_pixels(exposure, 1000.0).header[PEDESTAL] == 1000.0
    assert PEDESTAL != "PEDESTAL", "a card of other programs"


def test_the_level_of_the_darks_is_no_light(labelled):
    """A faint hit is visible above the read noise, although the frame has a high level."""
    faint = {}
    for name, level in {"a": None, "b": 5000.0}.items():
        header = fits.Header() if level is None else fits.Header({PEDESTAL: level})
        frame = sky_frame(20.0, SHAPE)
        frame.image[:] += level or 5000.0
        exposures = (Exposure(frame, header),) * 3
        hits = np.zeros(SHAPE, bool)
        hits[20, 20:24] = True
        frame.image[hits] += 40
        masks = (hits,) * 3, (np.zeros(SHAPE, np.uint8),) * 3
        write_sequence(MaskedSequence(exposures, *masks), labelled / "labels" / f"{name}2_masks.fits")
        splits = {which: {f"{name}2": [number]} for number, which in enumerate(("train", "validation", "test"))}
        data = LabelledExposures(str(labelled), splits, density=2000)
        data.prepare_data()
        faint[name] = sum(int((load_labelled(one).truth == CORE).sum()) for one in data.split("train", "added"))
    assert faint["b"] > faint["a"]


@pytest.mark.slow
def test_fields_of_one_sky_are_resampled_together_but_get_hits_of_their_own(labelled):
    for name in ("b", "c"):
        shutil.copy(labelled / "labels" / "a_masks.fits", labelled / "labels" / f"{name}_masks.fits")
    data = data_of(labelled, skies={"b": "a"})
    data.exposures = {"train": {"a": [0]}, "validation": {"a": [1]}, "test": {name: [2] for name in "abc"}}
    data.prepare_data()
    frames = [load_labelled(folder) for folder in data.split("test", "added")]
    assert [frame.facts["field"] for frame in frames] == ["a", "a", "c"]
    assert not np.array_equal(frames[0].truth, frames[1].truth)


def test_exposures_without_any_hit_teach_nothing(labelled):
    frame = sky_frame(100.0, SHAPE)
    none = np.zeros(SHAPE, bool)
    sequence = MaskedSequence((Exposure(frame, fits.Header()),) * 3, (none,) * 3, (none.astype(np.uint8),) * 3)
    write_sequence(sequence, labelled / "labels" / "none_masks.fits")
    splits = {which: {"none": [number]} for number, which in enumerate(("train", "validation", "test"))}
    with pytest.raises(ValueError, match="no hit was found in the exposures of the split 'train', so there is nothing"):
        LabelledExposures(str(labelled), splits).prepare_data()
    splits |= {"train": {"a": [0]}}
    with pytest.raises(ValueError, match="no hit was found in the exposures of the split 'validation'"):
        LabelledExposures(str(labelled), splits).prepare_data()


def test_a_hit_is_cut_out_with_its_charge():
    frame = sky_frame(100.0, SHAPE)
    hits = np.zeros(SHAPE, bool)
    hits[30, 40:44] = True
    frame.image[hits] += 500
    (stamp,) = cut_stamps(frame, hits, np.ones(SHAPE, bool))
    assert stamp.sum() == pytest.approx(4 * 500 * frame.gain, rel=0.1)
    assert max(stamp.shape) <= 6


@pytest.fixture
def real_frames(tmp_path):
    """Write seven frames of five fields with truth planes; the hits of field n have 1000 (n + 1) ADU."""
    (tmp_path / "truth").mkdir()
    for number, field in enumerate([0, 0, 0, 1, 2, 3, 4]):
        frame = sky_frame(100.0, SHAPE, seed=number)
        truth = np.zeros(SHAPE, np.uint8)
        for row, column in generator(number).integers(15, 65, (6, 2)):
            truth[row - 1 : row + 2, column - 1 : column + 4] = RING
        rows, columns = np.nonzero((truth == RING) & (generator(number).random(SHAPE) < 0.1))
        truth[rows, columns] = CORE
        frame.image[rows, columns] += 1000 * (field + 1)
        truth[:10] = 3  # not known
        frame.image[5, 70] += 500  # hot
        cards = {
            "GAIN": 4.0,
            "RDNOISE": 6.5,
            "SATURATE": 5e4,
            "EXPTIME": 90.0,
            "OBJECT": f"M {field}",
            "INSTRUME": "Kb 1",
        }
        fits.PrimaryHDU(frame.image, fits.Header(cards)).writeto(tmp_path / f"f{number}.fits")
        plane = fits.ImageHDU(truth, name="TRUTH")
        fits.HDUList([fits.PrimaryHDU(), plane]).writeto(tmp_path / "truth" / f"f{number}_truth.fits")
    return FramesWithTruth(str(tmp_path / "f*.fits"), "mine", str(tmp_path / "truth"), field_keywords=["OBJECT"])


def test_frames_with_truth_planes_are_trained_on_field_by_field_and_their_unknown_pixels_ignored(real_frames, tmp_path):
    crops = CropSampler(32, 8)
    data = LabelledExposures(
        str(tmp_path / "cache"), frames=real_frames, windows=crops, validation_windows=crops, density=2000
    )
    data.prepare_test()
    assert all(folder.is_dir() == (which == "test") for which in SPLITS for folder in data.split(which))
    data.prepare_data()
    assert data.cameras == ("kb-1",)
    skies = {which: {load_labelled(f).facts["field"] for f in data.split(which)} for which in SPLITS}
    assert len(set().union(*skies.values())) == sum(map(len, skies.values())), "no field is in two splits"
    for which in SPLITS:
        (natural, *added) = (load_labelled(folder) for folder in data.split(which))
        assert len(natural.truth[natural.truth == CORE]) > 0
        assert np.argwhere(natural.truth[:10] == SKY).tolist() == [[5, 70]], "a hot pixel is known to be no hit"
        for one in (natural, *added):
            assert (one.truth[:10] == IGNORED).sum() >= 10 * SHAPE[1] - 30
            assert (RING in one.truth) == (which == "test")
    peaks = {
        which: {round(s.max() / 4000) for s in stamps(data._hit_table_path(which), 1, 0).values()} for which in SPLITS
    }
    assert not peaks["train"] & peaks["test"]


def test_the_hits_of_a_table_are_added_in_their_own_split_alone(real_frames, tmp_path):
    write_stamps([np.full((2, 2), 1e5 + 1e3 * number, np.float32) for number in range(10)], tmp_path / "table.fits")
    table = Footprints(str(tmp_path / "table.fits"))
    data = LabelledExposures(str(tmp_path / "cache"), frames=real_frames, footprints=table)
    found = {
        which: {s.max() for s in stamps(data._hit_table_path(which), 1, 0).values() if s.max() >= 1e5}
        for which in SPLITS
    }
    assert [len(found[which]) for which in SPLITS] == [6, 1, 3]
    assert not found["train"] & found["test"]


def test_exposures_or_frames_are_expected(tmp_path, real_frames):
    for both in ({}, {"exposures": {}, "frames": real_frames}):
        with pytest.raises(ValueError, match="expected either exposures, labelled in root, or frames"):
            LabelledExposures(str(tmp_path), **both)


def test_a_table_of_stamps_is_read_as_it_was_written(tmp_path):
    written = [np.array([[1, 0], [2, 3]], np.float32), np.array([[5, 6, 7]], np.float32)]
    write_stamps(written, tmp_path / "hits.fits")
    found = stamps(tmp_path / "hits.fits", 1, 0)
    assert all(np.array_equal(found[number], stamp) for number, stamp in enumerate(written))
    write_stamps([], tmp_path / "none.fits")
    assert stamps(tmp_path / "none.fits", 1, 0) == {}


@pytest.mark.parametrize(("thickness", "pixel_size"), [(0.5, 15.0), (1e4, 15.0), (10.0, 500.0)])
def test_a_detector_that_cannot_be_is_refused(thickness, pixel_size):
    with pytest.raises(ValueError, match="expected 1 to"):
        check_detector(thickness, pixel_size)


def test_thickness_and_pixel_size_go_together(tmp_path):
    with pytest.raises(ValueError, match=r"thickness=20\.0, pixel_size=None: expected both"):
        LabelledExposures(str(tmp_path), {}, thickness=20.0)


def test_charge_spreads_more_in_a_thicker_detector():
    assert detector(250.0, 15.0).diffusion_max > 3 * detector(20.0, 15.0).diffusion_max
