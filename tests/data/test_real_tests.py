"""Test the injection of real hits into exposures, on small simulated frames in the layout of the real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from cosmicgate.data.background import dilate
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.real_tests import RealTest
from cosmicgate.data.sources import Exposures, Footprints, HitInjector, InjectedHits
from cosmicgate.data.sources.footprints import stamps
from cosmicgate.evaluation.frame_results import FrameResult
from cosmicgate.evaluation.scores import score
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import stem
from helpers.fits_files import write_cutout

SHAPE = (60, 50)
GAIN = 4.0


def write_exposure(path: Path, seed: int) -> Path:
    """Write an exposure: sky; row 5 bad, row 10 saturated, row 15 bleeding, a flagged hit at (20, 25)."""
    image = np.random.default_rng(seed).normal(500, 12, SHAPE).astype(np.float32)
    flags = np.zeros(SHAPE, np.int16)
    flags[5], flags[10], flags[15], flags[20, 25] = 1, 3, 4, 5
    image[10] = 45000
    write_cutout(path, flags, image=image, RDNOISEA=6.0, SATURATA=40000.0, FILTER="g", INSTRUME="DECam")
    return path


@pytest.fixture
def source(tmp_path):
    """Write two exposures and thirty hits whose charge grows with their number; return the source of the test set."""
    for number in range(2):
        write_exposure(tmp_path / f"field-{number}.fits", number)
    columns = [
        fits.Column("fp_id", "J", array=np.repeat(np.arange(30), 2)),
        fits.Column("x0", "J", array=np.zeros(60)),
        fits.Column("y0", "J", array=np.tile([0, 1], 30)),
        fits.Column("pixel_values", "3E", array=np.repeat(500.0 + np.arange(30), 2)[:, None] * [1, 0.2, 1]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "hits.fits")
    return InjectedHits(
        Exposures(str(tmp_path / "field-*.fits"), origin="exposures of somewhere"),
        Footprints(str(tmp_path / "hits.fits")),
        HitInjector(),
        name="sky",
        density=2000.0,
    )


def test_an_exposure_counts_once_and_two_of_one_name_are_refused(source, tmp_path):
    patterns = [str(tmp_path / "field-*.fits"), str(tmp_path / "field-1.fits")]
    assert len(Exposures(patterns, origin="somewhere").paths()) == 2
    (tmp_path / "other").mkdir()
    write_exposure(tmp_path / "other" / "field-0.fits", 2)
    with pytest.raises(ValueError, match="expected a name for each exposure, found more than one 'field-0'"):
        Exposures([*patterns, str(tmp_path / "other" / "*.fits")], origin="somewhere").paths()


def test_the_charge_of_injected_hits_is_added_in_adu_and_nothing_else_changes(source):
    known = stamps(Path(source.hits.file), 3, 400.0)
    before = {stem(path): source.exposures.read(path)[0] for path in source.exposures.paths()}
    alone = 0
    for lazy in source.lazy_labelled_frames():
        frame, truth, facts = lazy.build()
        science = before[facts["field"]]
        added = (frame.image.astype(float) - science.image) * GAIN
        assert np.array_equal(frame.bad, science.bad)  # detectors know the bad pixels, not the ignored ones
        assert not added[truth == SKY].any()
        unreliable = np.ones(SHAPE, bool)  # hits are cut off at edges; bad and saturated rows take no charge
        unreliable[1:-1, 1:-1] = False
        unreliable[[4, 6, 9, 11]] = True
        patches, number = ndimage.label(added != 0, np.ones((3, 3)))
        for patch in set(range(1, number + 1)) - set(patches[unreliable].tolist()):
            expected = [float(known[hit].sum()) for hit in facts["hits"]]
            alone += min(abs(added[patches == patch].sum() - np.array(expected))) < 0.05
    assert alone > 15  # of about thirty, the others overlap


def test_a_hit_on_empty_sky_keeps_its_charge():
    frame = Frame(np.full((20, 20), 100, np.float32), gain=2.0, read_noise=5.0, saturation=1e4, exptime=1.0)
    charge = np.zeros((20, 20), np.float32)
    charge[8:11, 8] = [900, 30, 1]  # 900 is above 3 sigma (of 15), 30 between 1 and 3, 1 below
    exposed, truth = HitInjector()(frame, charge, np.zeros((20, 20), bool))
    assert (exposed.image - frame.image).sum() * frame.gain == pytest.approx(931, rel=1e-4)
    assert truth[8, 8] == CORE
    assert np.argwhere(truth == CORE).tolist() == [[8, 8]]
    assert np.array_equal(truth == RING, dilate(truth == CORE) & (truth != CORE))
    charge[9, 8], charge[10, 8] = 0, 30
    truth = HitInjector()(frame, charge, np.zeros((20, 20), bool))[1]
    assert truth[10, 8] == IGNORED
    assert truth[11, 8] == SKY


def test_the_sky_of_a_crowded_frame_is_not_taken_for_subtracted():
    image = np.random.default_rng(0).normal(400, 160, (50, 50)).clip(300).astype(np.float32)
    frame = Frame(image, gain=4.0, read_noise=6.0, saturation=4e4, exptime=1.0)
    charge = np.zeros((50, 50), np.float32)
    charge[25, 25] = 1000.0
    assert HitInjector()(frame, charge, np.zeros((50, 50), bool))[1][25, 25] == CORE


def test_flagged_pixels_are_ignored_under_injected_hits_too(source):
    for lazy in source.lazy_labelled_frames():
        truth = lazy.build()[1]
        assert np.all(truth[[5, 10, 15]] == IGNORED)
        assert np.all(truth[19:22, 24:27] == IGNORED)  # the flagged hit and its ring


def test_saturated_hits_are_ignored():
    frame = Frame(np.full((20, 20), 100, np.float32), gain=1.0, read_noise=5.0, saturation=1000.0, exptime=1.0)
    charge = np.zeros((20, 20), np.float32)
    charge[5, 5] = 5000.0
    assert HitInjector()(frame, charge, np.zeros((20, 20), bool))[1][5, 5] == IGNORED


def test_every_core_has_its_ring(source):
    for lazy in source.lazy_labelled_frames():
        truth = lazy.build()[1]
        assert not np.any(dilate(truth == CORE) & (truth == SKY))
        assert np.all(dilate(truth == CORE)[truth == RING])


def test_the_seed_determines_the_injected_hits(source):
    def images(one):
        return {lazy.name: lazy.build()[0].image for lazy in one.lazy_labelled_frames()}

    first, again = images(source), images(source)
    assert sorted(first) == sorted(f"field-{field}-draw{draw}" for field in range(2) for draw in range(5))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert len({image.tobytes() for image in first.values()}) == 10
    other = images(InjectedHits(source.exposures, source.hits, source.contamination, "sky", density=2000.0, seed=1))
    assert not any(np.array_equal(first[name], other[name]) for name in first)
    fewer = images(
        InjectedHits(
            source.exposures, source.hits, source.contamination, "sky", injections_per_exposure=1, density=2000.0
        )
    )
    assert all(np.array_equal(first[name], image) for name, image in fewer.items())


def test_only_hits_of_the_test_split_are_injected(source):
    held_out = set(source.hits.hits("test"))
    used = {hit for lazy in source.lazy_labelled_frames() for hit in lazy.build()[2]["hits"]}
    assert used
    assert used <= held_out
    assert not used & {*source.hits.hits("train"), *source.hits.hits("validation")}


def test_missing_files_are_named_with_their_origin(tmp_path, source):
    missing = Exposures(str(tmp_path / "none-*.fits"), origin="exposures of somewhere")
    one = InjectedHits(missing, source.hits, source.contamination, "sky")
    with pytest.raises(
        FileNotFoundError, match=r"none-.*; needed: exposures of somewhere. real=DIR names their folder"
    ):
        one.lazy_labelled_frames()
    without = InjectedHits(source.exposures, Footprints(str(tmp_path / "no.fits")), source.contamination, "sky")
    with pytest.raises(FileNotFoundError, match="needed: a table of real hits"):
        without.lazy_labelled_frames()


def test_frames_are_cached_with_the_name_of_their_field(source, tmp_path):
    data = RealTest(str(tmp_path / "made"), source, "sky")
    data.prepare_test()
    (test_set,) = data.test_sets()
    assert (test_set.name, test_set.data_origin, test_set.benchmark) == ("sky", "semi-real", "")
    kept = [load_labelled(folder) for folder in test_set.folders]
    assert [one.facts["field"] for one in kept] == ["field-0", "field-1"] * 5
    assert all(one.facts["dilated"] and one.facts["telescope"] == "decam" for one in kept)
    changed = [folder.stat().st_mtime_ns for folder in test_set.folders]
    data.prepare_test()
    assert changed == [folder.stat().st_mtime_ns for folder in test_set.folders]


def frame_result(found: int) -> FrameResult:
    """Make the result of a frame of 1000 sky and 100 hit pixels, of which ``found`` are found, in 10 hits."""
    counts = np.zeros((3, 2), np.int64)
    counts[SKY], counts[CORE] = (1000, 0), (100 - found, found)
    hits = np.zeros((5, 2), np.int64)
    hits[0] = (10, found // 10)
    objects = np.array([[found // 10, 0]])
    none = np.zeros((6, 2), np.int64)
    return FrameResult(np.array([1.0]), counts[None], counts, hits, none, np.array(0), objects, none, np.zeros(3, int))


def test_intervals_resample_fields_instead_of_frames():
    found = [20, 90, 40, 80, 60]
    fields = score([frame_result(number) for number in found])
    draws = score(
        [frame_result(number) for number in found for _ in range(5)], [f"f{n}" for n in range(5) for _ in range(5)]
    )
    assert draws.content["frames"] == 25
    assert draws.content["fields"] == 5
    assert "fields" not in fields.content
    assert draws.values == fields.values
    assert draws.content["intervals"]["dilated"] == fields.content["intervals"]["dilated"]
    apart = score([frame_result(number) for number in found for _ in range(5)])
    width = [np.ptp(one.content["intervals"]["dilated"]["f1"]) for one in (draws, apart)]
    assert width[0] > 1.5 * width[1]


# ----------------------------------------------------------------------------------------------------------- commands


@pytest.mark.slow
def test_evaluate_reports_the_number_of_fields(command, source, tmp_path):
    arguments = [f"data.frames.exposures.files={source.exposures.files}", f"data.frames.hits.file={source.hits.file}"]
    arguments += [
        "data.frames.exposures.ignored=null",
        "data.frames.injections_per_exposure=2",
        "data.frames.density=2000",
    ]
    arguments += ["detector=astroscrappy", "detector.astroscrappy.sweep=[3,5]", f"data.root={tmp_path}/data"]
    done = command("evaluate.py", "data=real_sky", *arguments, f"hydra.run.dir={tmp_path}/run", "draw_masks=false")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert (row["test_set"], row["data_origin"], row["frames"], row["fields"]) == ("real_sky", "semi-real", 4, 2)
    assert row["hits"] > 0
    assert "by bootstrap over 2 fields" in (tmp_path / "run" / "report" / "tables.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("data", ["real_sky", "real_sky_lco", "real_cutouts"])
def test_without_the_files_the_command_says_what_is_needed(command, tmp_path, data):
    done = command(
        "evaluate.py", f"data={data}", f"real={tmp_path}", "detector=astroscrappy", f"hydra.run.dir={tmp_path}"
    )
    assert done.returncode == 1
    assert "no file matches" in done.stderr
    assert "needed: " in done.stderr
    assert "Traceback" not in done.stderr
    done = command("train.py", f"data={data}", f"real={tmp_path}", f"hydra.run.dir={tmp_path}/train")
    assert f"error: data: {data} is a test set, nothing trains on it" in done.stderr
