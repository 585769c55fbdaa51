"""DECam from a replayed NOIRLab archive: what is asked, what comes, and which frames a training sees."""

import numpy as np
import pytest
from conftest import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf
from replay import Replay, Trouble, exposure, md5
from test_config import composed

from cosmicgate.config import Train, build, checked
from cosmicgate.data.archives import FetchError, Manners, Query, Remote, fetch_decam
from cosmicgate.data.archives.__main__ import main
from cosmicgate.data.archives.listing import BY_MD5, BY_STRUCTURE, read_manifest
from cosmicgate.data.archives.search import FILTERS
from cosmicgate.data.remote import Noirlab, by_field
from cosmicgate.data.splits import SPLITS

HASTY = Manners(attempts=3, delay=0.01, longest=0.02, timeout=30.0)
GRIZ = ("g", "r", "i", "z")


@pytest.fixture
def replay(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Replay() as server:
        yield server


def add(replay, kind, name, number, **facts):
    """Put an exposure into the archive, with its mask if it is one of the sky; return its row."""
    raw = kind == "raw"
    own = dict(exposure=90.0, obs_type="dark" if raw else "object", proc_type=kind, prod_type="image") | facts
    if not raw:
        mask = exposure("dqmask", number, NAME=name)
        replay.add_row(name.replace("_ooi_", "_ood_"), mask, **(own | {"prod_type": "dqmask"}))
    return replay.add_row(name, exposure(kind, number, NAME=name, EXPTIME=own["exposure"]), **own)


def add_night(replay, day, bands=GRIZ, **facts):
    """Put an exposure of one field in each band into the archive; return the rows of the images."""
    stamp, ra = day.replace("-", ""), 7.0 * int(day[-2:]) + 70 * int(day[-5:-3]) % 360
    own = dict(caldat=day, ra_center=ra, dec_center=-30.0) | facts
    names = {band: f"c4d_{stamp[2:]}_0{n}1500_ooi_{band}_d2.fits.fz" for n, band in enumerate(bands)}
    return [add(replay, "instcal", name, 0, ifilter=FILTERS[band], **own) for band, name in names.items()]


def add_dark(replay, number, exptime):
    name = f"c4d_1402{number:02d}_120000_dri.fits.fz"
    return add(replay, "raw", name, number, caldat=f"2014-02-{number:02d}", exposure=exptime)


@pytest.mark.parametrize("prefix", ["", "file:"], ids=["bare keys", "file: keys"])
def test_science_frames_their_masks_and_darks_come(replay, tmp_path, prefix):
    replay.prefix = prefix
    for day in ("2012-11-10", "2013-01-20"):
        add_night(replay, day)
    add_night(replay, "2015-01-01")  # another time
    add_night(replay, "2013-02-01", exposure=45.0)
    for number, exptime in ((1, 90.0), (2, 1200.0), (3, 30.0)):
        add_dark(replay, number, exptime)
    science = fetch_decam(tmp_path, Query("science", bands=("g", "z")), replay.base, HASTY)
    masks = fetch_decam(tmp_path, Query("dqmask", bands=("g", "z")), replay.base, HASTY)
    darks = fetch_decam(tmp_path, Query("darks"), replay.base, HASTY)
    assert [len(m.files) for m in (science, masks, darks)] == [4, 4, 2]
    for manifest in (science, masks, darks):
        for file in manifest.files:
            assert md5((tmp_path / file.path).read_bytes()) == file.md5 == file.facts["md5sum"]
            assert file.checked == BY_MD5
    assert {f.path.replace("dqmask/", "science/").replace("_ood_", "_ooi_") for f in masks.files} == {
        f.facts["science"] for f in masks.files
    }
    assert {f.facts["science"] for f in masks.files} == {f.path for f in science.files}
    assert science.query["bands"] == ("g", "z")
    assert read_manifest(tmp_path / f"manifest-{Query('darks').name}.json").files == darks.files


def test_what_is_asked_are_the_archives_own_words(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, HASTY)
    asked = next(r for r in replay.requests if r.method == "POST")
    assert asked.path == "/api/adv_search/find/?rectype=file&limit=1000&sort=md5sum"
    assert asked.body["search"] == [
        ["instrument", "decam"],
        ["proc_type", "instcal"],
        ["prod_type", "image"],
        ["obs_type", "object"],
        ["exposure", 90.0, 90.0],
        ["caldat", "2012-11-01", "2013-02-28"],
        ["ifilter", "g DECam SDSS c0001 4720.0 1520.0"],
    ]


def test_a_second_run_knows_its_files_without_the_network(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    query = Query("science", bands=("g",))
    first = fetch_decam(tmp_path, query, replay.base, HASTY)
    replay.requests.clear()
    add_night(replay, "2012-12-10", ("g",))
    assert fetch_decam(tmp_path, query, replay.base, HASTY).files == first.files
    assert replay.requests == []


def test_the_limit_takes_some_of_each_band_always_the_same(replay, tmp_path):
    for day in range(10, 15):
        add_night(replay, f"2012-11-{day}", ("g", "r"))
    query = Query("science", bands=("g", "r"), limit=3)
    first = fetch_decam(tmp_path / "1", query, replay.base, HASTY)
    replay.rows.reverse()
    second = fetch_decam(tmp_path / "2", query, replay.base, HASTY)
    assert [f.path for f in first.files] == [f.path for f in second.files]
    assert [f.facts["ifilter"][0] for f in first.files] == ["g"] * 3 + ["r"] * 3
    assert len({f.facts["caldat"] for f in first.files}) > 2


def test_files_that_are_not_released_are_left_out_and_counted(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    add_night(replay, "2012-11-11", ("g",), release_date="2199-01-01")
    manifest = fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, HASTY)
    assert [f.facts["caldat"] for f in manifest.files] == ["2012-11-10"]
    assert manifest.left_out == {"not yet released": 1}
    with pytest.raises(FetchError, match=r"no public instcal object frame in g .*: 1 are not yet released"):
        fetch_decam(tmp_path, Query("science", ("g",), dates=("2012-11-11", "2012-11-12")), replay.base, HASTY)


def test_one_version_of_an_exposure_is_taken(replay, tmp_path):
    row = add_night(replay, "2012-11-10", ("g",))[0]
    facts = {k: row[k] for k in ("caldat", "exposure", "obs_type", "proc_type", "prod_type", "ifilter")}
    replay.add_row("c4d_121110_001500_ooi_g_v1.fits.fz", b"a later version", **facts)
    manifest = fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, HASTY)
    assert len(manifest.files) == 1
    assert manifest.left_out == {"another version of an exposure": 1}


def test_single_ccds_come_unchecked_by_md5_and_the_manifest_says_so(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    query = Query("science", bands=("g",), hdus=(2,))
    file = fetch_decam(tmp_path, query, replay.base, HASTY).files[0]
    assert file.path.endswith("c4d_121110_001500_ooi_g_d2.hdus-0-2.fits.fz")
    assert replay.downloads()[0].path.endswith("/?hdus=0,2")
    assert file.checked == BY_STRUCTURE
    content = (tmp_path / file.path).read_bytes()
    assert (file.size, file.md5) == (len(content), md5(content))
    (tmp_path / file.path).write_bytes(content[:-2880])
    fetch_decam(tmp_path, query, replay.base, HASTY)
    assert (tmp_path / file.path).read_bytes() == content


def test_a_part_that_is_no_whole_fits_file_is_refused(replay, tmp_path, monkeypatch):
    row = add_night(replay, "2012-11-10", ("g",))[0]
    whole = exposure("instcal", 1)
    for bad, reason in (
        (whole[:-2880], "not a whole FITS file"),
        (b"<html>", "not a whole FITS file"),
        (whole, "came with 4 HDUs"),
    ):
        monkeypatch.setattr("replay.cut", lambda content, numbers, bad=bad: bad)
        hdus = tuple(range(10)) if bad is whole else (2,)
        with pytest.raises(FetchError, match=rf"{row['archive_filename'][-30:-8]}.*{reason}"):
            fetch_decam(tmp_path, Query("science", ("g",), hdus=hdus), replay.base, HASTY)


def test_a_server_without_ifilter_has_its_rows_read(replay, tmp_path):
    add_night(replay, "2012-11-10")
    del replay.fields["ifilter"]
    manifest = fetch_decam(tmp_path, Query("science", bands=("r",)), replay.base, HASTY)
    assert ["_r_" in f.path for f in manifest.files] == [True]


def test_a_field_that_the_server_does_not_know_is_named(replay, tmp_path):
    del replay.fields["obs_type"]
    with pytest.raises(FetchError, match=r"knows no field obs_type, only AIRMASS, EXPNUM, archive_filename"):
        fetch_decam(tmp_path, Query("science"), replay.base, HASTY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bands": ("g", "gg")}, "unknown band 'gg': expected some of u, g, r, i, z, Y, VR"),
        ({"bands": ()}, "unknown band ''"),
        ({"kind": "flats"}, "unknown kind 'flats': expected one of science, dqmask, darks"),
        ({"exptime": (90, 30)}, r"expected a shortest and a longest exposure in seconds, got \[90"),
        ({"dates": ("2012-11-31", "2012-12-01")}, "expected two nights like 2012-11-01, got"),
        ({"dates": ("2013-11-01", "2012-12-01")}, "expected a first and a last night"),
        ({"limit": 0}, "expected a limit from 1 and HDUs from 0, got 0"),
        ({"hdus": (-1,)}, r"HDUs from 0, got 4 and \[-1, 0\]"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Query(**({"kind": "science"} | given))


# ---------------------------------------------------------------------------------------------------------- the command


def decam(replay, tmp_path, *more):
    return ["decam", "--root", str(tmp_path / "noirlab"), "--base", replay.base, *more]


def test_the_decam_command_tells_the_size_then_fetches_all_kinds(replay, tmp_path, capsys):
    add_night(replay, "2012-11-10")
    add_dark(replay, 1, 90.0)
    arguments = decam(replay, tmp_path, "--kind", "science", "dqmask", "darks", "--limit", "1")
    assert main([*arguments, "--dry-run"], HASTY) == 0
    lines = capsys.readouterr().out.splitlines()
    size = sum(r["filesize"] for r in replay.rows if r.get("prod_type") == "image" and r["proc_type"] == "instcal")
    assert [line.split("-")[0] for line in lines] == ["science", "dqmask", "darks"]
    assert lines[0].endswith(f": 4 file(s), {size / 1000:.0f}kB; 4 to fetch, {size / 1000:.0f}kB of disk")
    assert not (tmp_path / "noirlab").exists()
    assert replay.downloads() == []
    assert main(arguments, HASTY) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [*lines, f"all there: {tmp_path / 'noirlab'}"]
    assert "4 of 4 file(s): 100%" in shown.err
    assert len(replay.downloads()) == 9
    replay.requests.clear()
    assert main(arguments, HASTY) == 0
    assert replay.requests == []
    assert "4 file(s), " in capsys.readouterr().out


def test_what_fails_is_named_the_others_come_and_the_exit_code_is_1(replay, tmp_path, capsys):
    rows = add_night(replay, "2012-11-10")
    del replay.files[f"/api/retrieve/{rows[1]['md5sum']}/"]
    replay.troubles["/api/adv_search/find/"] = [Trouble(500), Trouble(429, {"Retry-After": "0"})]
    assert main(decam(replay, tmp_path, "--kind", "science", "dqmask"), HASTY) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(
        "error: 1 of 4 file(s) did not come: science/20121110/ct4m/2012B-0001/c4d_121110_011500_ooi_r"
    )
    assert err.endswith("HTTP 404 (Not found.)); run it again to go on")
    assert len(list((tmp_path / "noirlab").rglob("*.fits.fz"))) == 7  # 3 images, 4 masks


def test_a_misspelt_band_is_one_sentence(replay, tmp_path, capsys):
    assert main(decam(replay, tmp_path, "--bands", "g", "x"), HASTY) == 1
    assert capsys.readouterr().err == "error: unknown band 'x': expected some of u, g, r, i, z, Y, VR\n"
    assert replay.requests == []


# ------------------------------------------------------------------------------------------------- a source of frames


@pytest.fixture
def science(replay, tmp_path):
    """Return a source of two CCDs of ten exposures in eight fields, of which two are seen in two nights."""
    for night, first in (("2012-11-10", 0), ("2012-12-20", 3)):
        for number in range(first, first + 5):
            name = f"c4d_{night.replace('-', '')[2:]}_0{number}1500_ooi_g_d2.fits.fz"
            place = {"ra_center": 10 + 3.0 * number + (night > "2012-12") * 0.3, "dec_center": -30.0}
            add(replay, "instcal", name, number, caldat=night, ifilter=FILTERS["g"], **place)
    return Noirlab("science", str(tmp_path), bands=("g",), limit=20, base=replay.base)


def test_all_ccds_and_all_exposures_of_a_field_are_in_one_split(science, replay):
    dealt = {which: [recipe.name for recipe in science.recipes(which)] for which in SPLITS}
    names = [name for own in dealt.values() for name in own]
    assert len(names) == len(set(names)) == 20
    assert all(dealt.values())
    split_of = {name: which for which, own in dealt.items() for name in own}
    for night in ("121110", "121220"):
        for number in range(8):
            both = {split_of.get(f"c4d_{night}_0{number}1500-{ccd}") for ccd in ("N4", "S4")}
            assert len(both) == 1
    for number in (3, 4):  # seen in both nights
        assert split_of[f"c4d_121110_0{number}1500-N4"] == split_of[f"c4d_121220_0{number}1500-N4"]
    replay.requests.clear()
    assert [r.key for r in science.recipes("train")] == [r.key for r in science.recipes("train")]
    assert replay.requests == []


def test_without_places_the_nights_stay_together():
    files = [Remote(f"{n}", "", 0, "", facts={"caldat": f"2012-11-{n % 3}", "ra_center": n}) for n in range(9)]
    assert [[f.path for f in group] for group in by_field(files)] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


def test_a_recipe_reads_its_ccd_and_its_quality_mask(science):
    recipe = next(r for which in SPLITS for r in science.recipes(which) if r.name == "c4d_121110_001500-N4")
    frame = recipe.make()
    assert (frame.gain, frame.read_noise, frame.saturation, frame.exptime) == (4.0, 6.5, 45000.0, 90.0)
    assert (frame.band, frame.telescope, frame.name, frame.shape) == ("g", "decam", "c4d_121110_001500-N4", (64, 64))
    assert np.argwhere(frame.bad).tolist() == [[2, 3]]  # N4 is the second CCD of the file; its flagged hit is not bad
    assert frame.image.std() == pytest.approx(10, rel=0.2)


def test_a_ccd_that_the_file_does_not_hold_is_named(science, replay):
    science = Noirlab("science", science.root, ["N31"], bands=("g",), limit=20, base=replay.base)
    with pytest.raises(ValueError, match=r"ooi_g_d2\.fits\.fz: .*'?N31'?.* S29.* N4.* S4"):
        science.recipes("train")[0].make()


def test_the_shipped_configs_pass_the_check_of_a_training():
    cfg = checked(composed("data/science=noirlab", "data/darks=noirlab", "data/size=none"), Train)
    assert (cfg.data.science.kind, cfg.data.darks.kind) == ("science", "darks")


@pytest.mark.parametrize("kind", ["science", "darks"])
def test_the_shipped_configs_fetch_and_deal(replay, tmp_path, kind):
    for number in range(1, 4):
        add_dark(replay, number, 300.0) if kind == "darks" else add_night(replay, f"2012-11-0{number}")
    node = OmegaConf.load(ROOT / "conf" / "data" / kind / "noirlab.yaml")
    source = instantiate(node, _convert_="all", root=str(tmp_path), base=replay.base)
    assert source.provenance == "real"
    recipes = [recipe for which in SPLITS for recipe in source.recipes(which)]
    assert len(recipes) == 2 * {"science": 12, "darks": 3}[kind]
    assert recipes[0].make().exptime == pytest.approx({"science": 90, "darks": 300}[kind])


def test_a_training_set_is_made_of_what_comes(replay, tmp_path):
    for number in range(1, 4):
        add_night(replay, f"2012-11-0{number}", ("g",))
        add_dark(replay, number, 300.0)
    kinds = ("science", "darks")
    given = [f"+data.{kind}.base={replay.base}" for kind in kinds] + [f"data.{kind}.root={tmp_path}" for kind in kinds]
    choice = ["data/science=noirlab", "data/darks=noirlab", "data/size=none", "data.science.bands=[g]"]
    data = build(composed(*choice, *given, f"data.root={tmp_path / 'made'}").data)
    data.prepare_data()
    assert len(data.folders()) == 6
    assert all((folder / "truth.npy").is_file() for folder in data.folders())
    assert data.provenance == "semi-real"
