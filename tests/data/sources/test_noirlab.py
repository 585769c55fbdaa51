"""Test frames that are downloaded on demand: each field in one split, and the configurations that use them."""

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cosmicgate.config import Train, build, validate
from cosmicgate.data.download.manifest import RemoteFile
from cosmicgate.data.download.search import FILTERS
from cosmicgate.data.sources.noirlab import Noirlab, by_field
from cosmicgate.data.splits import SPLITS
from helpers.archive_files import add_dark, add_exposure, add_night
from helpers.hydra_config import composed_config
from helpers.repository import ROOT


@pytest.fixture
def science(replay, tmp_path):
    """Make a source of two CCDs of ten exposures of eight fields, two of which are observed in two nights."""
    for night, first in (("2012-11-10", 0), ("2012-12-20", 3)):
        for number in range(first, first + 5):
            name = f"c4d_{night.replace('-', '')[2:]}_0{number}1500_ooi_g_d2.fits.fz"
            place = {"ra_center": 10 + 3.0 * number + (night > "2012-12") * 0.3, "dec_center": -30.0}
            add_exposure(replay, "instcal", name, number, caldat=night, ifilter=FILTERS["g"], **place)
    return Noirlab("science", str(tmp_path), bands=("g",), limit=20, base=replay.base)


def test_all_ccds_and_all_exposures_of_a_field_are_in_one_split(science, replay):
    splits = {which: [lazy.name for lazy in science.lazy_frames(which)] for which in SPLITS}
    names = [name for own in splits.values() for name in own]
    assert len(names) == len(set(names)) == 20
    assert all(splits.values())
    split_of = {name: which for which, own in splits.items() for name in own}
    for night in ("121110", "121220"):
        for number in range(8):
            both = {split_of.get(f"c4d_{night}_0{number}1500-{ccd}") for ccd in ("N4", "S4")}
            assert len(both) == 1
    for number in (3, 4):  # observed in both nights
        assert split_of[f"c4d_121110_0{number}1500-N4"] == split_of[f"c4d_121220_0{number}1500-N4"]
    field_of = {lazy.name: lazy.field for which in SPLITS for lazy in science.lazy_frames(which)}
    assert len(set(field_of.values())) == 8
    assert len({field_of[f"c4d_{night}_031500-{ccd}"] for night in ("121110", "121220") for ccd in ("N4", "S4")}) == 1
    replay.requests.clear()
    assert [r.key for r in science.lazy_frames("train")] == [r.key for r in science.lazy_frames("train")]
    assert replay.requests == []


def test_overlapping_fields_are_one_group():
    places = {"a": (10.0, -30.0), "b": (10.0, -28.5), "c": (10.0, -32.3)}  # 1.5 and 2.3 degrees from the first
    files = [RemoteFile(n, "", 0, "", facts={"ra_center": ra, "dec_center": dec}) for n, (ra, dec) in places.items()]
    assert [[f.path for f in group] for group in by_field(files)] == [["a", "b"], ["c"]]


def test_without_coordinates_each_night_is_one_group():
    files = [RemoteFile(f"{n}", "", 0, "", facts={"caldat": f"2012-11-{n % 3}", "ra_center": n}) for n in range(9)]
    assert [[f.path for f in group] for group in by_field(files)] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


def test_a_recipe_reads_its_ccd_and_its_quality_mask(science):
    lazy = next(r for which in SPLITS for r in science.lazy_frames(which) if r.name == "c4d_121110_001500-N4")
    frame = lazy.build()
    assert (frame.gain, frame.read_noise, frame.saturation, frame.exptime) == (4.0, 6.5, 45000.0, 90.0)
    assert (frame.band, frame.telescope, frame.name, frame.shape) == ("g", "decam", "c4d_121110_001500-N4", (64, 64))
    assert np.argwhere(frame.bad).tolist() == [
        [2, 3]
    ]  # N4 is the second CCD of the file; its flagged hit is not a bad pixel
    assert frame.image.std() == pytest.approx(10, rel=0.2)


def test_a_missing_ccd_is_named(science, replay):
    science = Noirlab("science", science.root, ["N31"], bands=("g",), limit=20, base=replay.base)
    with pytest.raises(ValueError, match=r"ooi_g_d2\.fits\.fz: .*'?N31'?.* S29.* N4.* S4"):
        science.lazy_frames("train")[0].build()


def test_the_noirlab_configs_are_valid_for_training():
    cfg = validate(composed_config("data/science=noirlab", "data/darks=noirlab", "~data/size"), Train)
    assert (cfg.data.science.kind, cfg.data.darks.kind) == ("science", "darks")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["science", "darks"])
def test_the_noirlab_configs_download_and_split_frames(replay, tmp_path, kind):
    for number in range(1, 4):
        add_dark(replay, number, 300.0) if kind == "darks" else add_night(replay, f"2012-11-0{number}")
    node = OmegaConf.load(ROOT / "conf" / "data" / kind / "noirlab.yaml")
    source = instantiate(node, _convert_="all", root=str(tmp_path), base=replay.base)
    assert source.data_origin == "real"
    lazy_frames = [lazy for which in SPLITS for lazy in source.lazy_frames(which)]
    assert len(lazy_frames) == 2 * {"science": 12, "darks": 3}[kind]
    assert lazy_frames[0].build().exptime == pytest.approx({"science": 90, "darks": 300}[kind])


@pytest.mark.slow
def test_a_training_set_is_made_of_downloaded_frames(replay, tmp_path):
    for number in range(1, 4):
        add_night(replay, f"2012-11-0{number}", ("g",))
        add_dark(replay, number, 300.0)
    kinds = ("science", "darks")
    given = [f"+data.{kind}.base={replay.base}" for kind in kinds] + [f"data.{kind}.root={tmp_path}" for kind in kinds]
    choice = ["data/science=noirlab", "data/darks=noirlab", "~data/size", "data.science.bands=[g]"]
    data = build(composed_config(*choice, *given, f"data.root={tmp_path / 'made'}").data)
    data.prepare_data()
    assert len(data.folders()) == 8
    assert all((folder / "truth.npy").is_file() for folder in data.folders())
    assert data.data_origin == "semi-real"
