"""Test that training, validation and test share no frame, sky, dark, hit or noise."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from omegaconf import OmegaConf

from cosmicgate.data.cache import LabelledFrame
from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.simulation.ccd import ITL, resolve_ccd
from cosmicgate.data.simulation.sky import BANDS
from cosmicgate.data.sources import Coadd, Files, Footprints
from cosmicgate.data.sources.simulated import SimulatedDarks, SimulatedScience
from cosmicgate.data.splits import SPLITS
from helpers.repository import ROOT

FRAMES = {"train": 3, "validation": 2, "test": 2}


def check_disjoint(items_of):
    """Return the items of each split, after a check that each item occurs once, in one split."""
    splits = {name: list(items_of(name)) for name in SPLITS}
    assert all(splits.values())
    together = Counter(item for items in splits.values() for item in items)
    assert set(together.values()) == {1}, together.most_common(3)
    return splits


# -------------------------------------------------------------------------------------------------------- sources


@pytest.fixture
def frames_on_disk(tmp_path):
    for number in range(20):
        night = tmp_path / f"night-{number % 3}"
        night.mkdir(exist_ok=True)
        header = fits.Header({"GAIN": 4.0, "RDNOISE": 6.5, "SATURATE": 45_000.0, "EXPTIME": 90.0})
        fits.PrimaryHDU(np.full((8, 8), number, np.float32), header).writeto(night / f"frame-{number:02d}.fits")
    return tmp_path


@pytest.fixture
def coadd(tmp_path):
    """Write a coadd of 200 columns, each with a brightness proportional to its number; return the source."""
    image = np.tile(200.0 * np.arange(200, dtype=np.float32), (40, 1))
    fits.PrimaryHDU(image, fits.Header({"SATURATE": 1e6})).writeto(tmp_path / "coadd.fits")
    strips = {"train": (0.0, 0.5), "validation": (0.5, 0.7), "test": (0.7, 1.0)}
    return Coadd(str(tmp_path / "coadd.fits"), strips, frames=FRAMES, bands=("g", "r"), gap=10)


@pytest.fixture
def footprints(tmp_path):
    """Write a table of 50 hits, each a line of three pixels whose charge identifies it; return the source."""
    columns = [
        fits.Column("fp_id", "J", array=np.arange(50)),
        fits.Column("x0", "J", array=np.full(50, 10)),
        fits.Column("y0", "J", array=np.full(50, 20)),
        fits.Column("pixel_values", "3J", array=np.tile(10_000 + np.arange(50)[:, None], (1, 3))),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "hits.fits")
    return Footprints(str(tmp_path / "hits.fits"), (256, 256), frames=FRAMES, rate=10.0)


def test_splits_share_no_simulated_frame_by_name_key_seed_or_pixels():
    sources = [SimulatedScience(FRAMES, shape=(256, 256), bands=("g", "z")), SimulatedDarks(FRAMES, (256, 256))]
    lazy_frames = {which: [r for source in sources for r in source.lazy_frames(which)] for which in SPLITS}
    check_disjoint(lambda which: [r.name for r in lazy_frames[which]])
    check_disjoint(lambda which: [r.key for r in lazy_frames[which]])
    check_disjoint(lambda which: [tuple(r.cache_key_parts[-1]) for r in lazy_frames[which]])  # the seeds
    frames = {which: [r.build() for r in lazy_frames[which]] for which in SPLITS}
    check_disjoint(lambda which: [f.image.tobytes() for f in frames[which]])
    check_disjoint(lambda which: [f.hits.tobytes() for f in frames[which] if f.hits.any()])
    assert all(f.hits.any() for which in SPLITS for f in frames[which] if f.exptime > 90)


def test_splits_share_no_file(frames_on_disk):
    source = Files(str(frames_on_disk / "night-*" / "*.fits"))
    splits = check_disjoint(lambda which: [r.name for r in source.lazy_frames(which)])
    pixels = check_disjoint(lambda which: [float(r.build().image[0, 0]) for r in source.lazy_frames(which)])
    assert sorted(n for numbers in pixels.values() for n in numbers) == list(range(20))
    assert [len(splits[which]) for which in SPLITS] == [12, 2, 6]


def test_two_files_of_the_same_name_are_refused(frames_on_disk):
    # They would share a name in tables and, if size and date are equal, a file in the cache.
    twin = frames_on_disk / "night-0" / "frame-01.fits.fz"
    twin.write_bytes((frames_on_disk / "night-1" / "frame-01.fits").read_bytes())
    with pytest.raises(ValueError, match="expected a name for each file, found more than one 'frame-01'"):
        Files(str(frames_on_disk / "night-*" / "*")).lazy_frames("train")


def test_splits_share_no_column_of_a_coadd_and_keep_a_gap(coadd):
    def columns(which):
        scale = 10 ** (0.4 * (BANDS["g"].zero_point - coadd.zero_point)) * coadd.exptime
        frames = [r.build() for r in coadd.lazy_frames(which) if "-g-" in r.name]
        skies = [np.mean(BANDS["g"].sky) * coadd.exptime for _ in frames]
        found = [(np.median(f.image, axis=0) - sky) / scale / 200 for f, sky in zip(frames, skies, strict=True)]
        assert all((np.rint(f) == np.rint(found[0])).all() for f in found)
        return np.rint(found[0]).astype(int).tolist()

    splits = check_disjoint(columns)
    assert splits["train"] == list(range(95))
    assert splits["validation"] == list(range(105, 135))
    assert splits["test"] == list(range(145, 200))


def test_exposures_of_a_coadd_have_different_noise(coadd):
    check_disjoint(lambda which: [tuple(r.cache_key_parts[-1]) for r in coadd.lazy_frames(which)])
    first, second = (r.build() for r in coadd.lazy_frames("train")[:2])
    assert (first.image != second.image).mean() > 0.9


def test_splits_share_no_hit_of_a_table(footprints):
    listed = check_disjoint(footprints.hits)
    assert [len(listed[which]) for which in SPLITS] == [30, 5, 15]

    def placed_hits(which):
        frames = [r.build() for r in footprints.lazy_frames(which)]
        charges = np.concatenate([f.hits[f.hits > 0] for f in frames])
        return {int(c) - 10_000 for c in charges if c < 20_000}  # a larger charge is of two overlapping hits

    for which in SPLITS:
        assert placed_hits(which) <= set(listed[which])
        assert len(placed_hits(which)) > len(listed[which]) / 2
    check_disjoint(lambda which: [tuple(r.cache_key_parts[-1]) for r in footprints.lazy_frames(which)])


# ------------------------------------------------------------------------------------------ pairs of science and dark


def decam_data(science, darks, root="unused", **more):
    return DecamData(science, darks, PhysicalRecipe(clean=None), str(root), GridSampler(), pairs_per_frame=2, **more)


@pytest.fixture(params=["simulated", "semi-real"])
def data(request):
    if request.param == "simulated":
        return decam_data(SimulatedScience(FRAMES), SimulatedDarks(FRAMES))
    return decam_data(request.getfixturevalue("coadd"), request.getfixturevalue("footprints"))


@pytest.mark.parametrize("part", ["science", "dark"])
def test_pairs_of_different_splits_share_no_frame(data, part):
    check_disjoint(lambda which: {getattr(pair, part).name for pair in data.pairs(which)})
    check_disjoint(lambda which: {getattr(pair, part).key for pair in data.pairs(which)})


def test_each_pair_has_a_folder_and_each_frame_its_number_of_pairs(data):
    check_disjoint(lambda which: [pair.folder for pair in data.pairs(which)])
    for which, times in (("train", 2), ("validation", 1), ("test", 1)):
        science = [pair.science.name for pair in data.pairs(which)]
        assert sorted(science) == sorted([r.name for r in data.science.lazy_frames(which)] * times)
        darks = Counter(pair.dark.name for pair in data.pairs(which))
        assert max(darks.values()) - min(darks.values()) <= 1  # all darks are used equally often


def test_test_frames_of_one_sky_have_one_field(data, coadd):
    (test_set,) = data.test_sets()
    assert len(test_set.fields) == len(test_set.folders) > 1
    assert len(set(test_set.fields)) == (1 if data.science == coadd else len(test_set.folders))


def test_splits_share_no_read_noise(data):
    check_disjoint(lambda which: [tuple(pair.seed) for pair in data.pairs(which)])


def test_the_pairing_seed_determines_the_pairs():
    def pairs(seed):
        of = decam_data(SimulatedScience(FRAMES), SimulatedDarks(FRAMES), pairing_seed=seed)
        return [[(p.science.key, p.dark.key, p.folder) for p in of.pairs(which)] for which in SPLITS]

    assert pairs(1) == pairs(1)
    assert pairs(1) != pairs(2)


def test_science_frames_in_a_split_without_darks_are_refused():
    data = decam_data(SimulatedScience(FRAMES), SimulatedDarks({"train": 2, "validation": 1}))
    with pytest.raises(ValueError, match=r"8 science frame\(s\) but no dark in the 'test' split"):
        data.pairs("test")


# ------------------------------------------------------------------------------------------------- size of the paper


def test_at_the_papers_size_a_tenth_of_the_training_patches_validates():
    size = OmegaConf.load(ROOT / "conf/data/size/paper.yaml")
    data = DecamData(
        SimulatedScience(**size.science), SimulatedDarks(**size.darks), PhysicalRecipe(), "unused", GridSampler()
    )
    whole = LabelledFrame(
        np.broadcast_to(np.float32(0), size.science.shape),
        np.broadcast_to(np.uint8(0), (1, 1)),
        np.zeros((1, 1), bool),
        {},
    )
    patches = {which: len(GridSampler(256).prepare([whole] * len(data.pairs(which)))) for which in SPLITS}
    assert patches == {"train": 18_432, "validation": 2_048, "test": 8_192}
    assert patches["train"] + patches["validation"] == 20_480
    for which, frames in (("train", 36), ("validation", 4), ("test", 16)):
        bands = Counter(pair.science.name.split("-")[1] for pair in data.pairs(which))
        assert bands == dict.fromkeys("griz", frames)
    assert sum(len(data.darks.lazy_frames(which)) for which in SPLITS) == 42


# ------------------------------------------------------------------------------------------------- invalid settings


@pytest.mark.parametrize(
    ("strips", "expected"),
    [
        ({"train": (0.0, 0.6), "test": (0.5, 1.0)}, "strips of train and test share sky: 0.5 lies before 0.6"),
        ({"train": (0.0, 1.0), "validation": (0.2, 0.3), "test": (0.3, 0.4)}, "train and validation share sky"),
        ({"train": (0.6, 0.0), "test": (0.6, 1.0)}, r"strip of train: expected .* from 0 to 1, got \[0.6, 0.0\]"),
        ({"train": (-0.4, -0.1), "test": (0.6, 1.0)}, r"strip of train: .* got \[-0.4, -0.1\]"),
        ({"train": (0.5,)}, r"strip of train: .* got \[0.5\]"),
        ({"tset": (0.0, 0.5)}, "unknown split 'tset'"),
    ],
)
def test_overlapping_or_invalid_strips_are_refused(coadd, strips, expected):
    with pytest.raises(ValueError, match=expected):
        replace(coadd, strips=strips).lazy_frames("train")


@pytest.mark.parametrize("source", ["science", "darks", "coadd", "footprints"])
def test_an_unknown_split_is_refused_by_name(request, source):
    wrong = {"train": 1, "tset": 1}
    made = {"science": lambda: SimulatedScience(wrong), "darks": lambda: SimulatedDarks(wrong)}
    known = made[source]() if source in made else replace(request.getfixturevalue(source), frames=wrong)
    with pytest.raises(ValueError, match="unknown split 'tset': expected train, validation, test"):
        known.lazy_frames("train")


def test_an_unknown_band_is_refused_by_name(coadd):
    for source in (SimulatedScience(FRAMES, bands=("g", "y")), replace(coadd, bands=("g", "y"))):
        with pytest.raises(ValueError, match="unknown band 'y': expected some of g, r, i, z"):
            source.lazy_frames("train")


def test_an_unknown_ccd_is_refused_by_name():
    for source in (SimulatedScience(FRAMES, ccd="decma"), SimulatedDarks(FRAMES, ccd="decma")):
        with pytest.raises(ValueError, match="unknown CCD 'decma': expected one of decam, itl"):
            source.lazy_frames("train")


def test_a_ccd_can_be_described_instead_of_named():
    own = replace(ITL, shape=[32, 48], gain=1.3)  # a list, as a configuration gives it
    for source in (SimulatedScience(FRAMES, ccd=own), SimulatedDarks(FRAMES, ccd=own)):
        frame = source.lazy_frames("train")[0].build()
        assert frame.shape == (32, 48)
        assert frame.gain == pytest.approx(1.3, rel=0.3)
        assert frame.telescope == ""
    named, described = (SimulatedDarks(FRAMES, ccd=ccd).lazy_frames("train")[0].key for ccd in ("itl", ITL))
    assert named == described


@pytest.mark.parametrize("shape", [(512,), (0, 512), (1, 2, 3)])
def test_an_invalid_shape_is_refused(shape):
    with pytest.raises(ValueError, match="expected a shape of rows and columns, got"):
        resolve_ccd("decam", shape)


def test_a_misspelt_header_key_is_refused_by_name(frames_on_disk):
    with pytest.raises(ValueError, match="header_overrides: unknown key 'gian', expected some of gain, read_noise"):
        Files(str(frames_on_disk / "*" / "*.fits"), header_overrides={"gian": 4.0}).lazy_frames("train")


def test_a_missing_file_or_a_pattern_without_matches_is_refused(tmp_path, coadd, footprints):
    with pytest.raises(FileNotFoundError, match=r"no file matches '.*/\*\.fz'"):
        Files(str(tmp_path / "*.fz")).lazy_frames("train")
    for source in (coadd, footprints):
        with pytest.raises(FileNotFoundError, match=r"no such file: '.*absent\.fits'"):
            replace(source, file=str(tmp_path / "absent.fits")).lazy_frames("train")


def test_a_split_without_hits_is_refused(footprints):
    without = replace(footprints, fractions={"train": 0.5, "test": 0.5})
    with pytest.raises(ValueError, match=r"hits\.fits: the 'validation' split has no hits; raise its fraction"):
        without.lazy_frames("validation")[0].build()


def test_a_table_with_other_columns_is_refused_by_name(tmp_path, footprints):
    fits.BinTableHDU(np.zeros(3, [("x", "f4")])).writeto(tmp_path / "other.fits")
    with pytest.raises(ValueError, match=r"other\.fits: expected a table with the columns fp_id, x0, y0, pixel_values"):
        replace(footprints, file=str(tmp_path / "other.fits")).hits("train")
