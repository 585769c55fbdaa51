"""Test DECam downloads from a replayed NOIRLab archive: the query, the files, the command."""

import pytest

from cosmicgate.data.download.__main__ import main
from cosmicgate.data.download.client import FetchError
from cosmicgate.data.download.manifest import BY_MD5, BY_STRUCTURE, read_manifest
from cosmicgate.data.download.noirlab import Query, fetch_decam
from helpers.archive_files import FAST_RETRY, add_dark, add_night
from helpers.replay_server import Fault, exposure_bytes, md5


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "file:"], ids=["bare keys", "file: keys"])
def test_science_frames_masks_and_darks_are_downloaded(replay, tmp_path, prefix):
    replay.prefix = prefix
    for day in ("2012-11-10", "2013-01-20"):
        add_night(replay, day)
    add_night(replay, "2015-01-01")  # outside the dates of the query
    add_night(replay, "2013-02-01", exposure=45.0)
    for number, exptime in ((1, 90.0), (2, 1200.0), (3, 30.0)):
        add_dark(replay, number, exptime)
    science = fetch_decam(tmp_path, Query("science", bands=("g", "z")), replay.base, FAST_RETRY)
    masks = fetch_decam(tmp_path, Query("dqmask", bands=("g", "z")), replay.base, FAST_RETRY)
    darks = fetch_decam(tmp_path, Query("darks"), replay.base, FAST_RETRY)
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


def test_the_query_uses_the_field_names_of_the_archive(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, FAST_RETRY)
    request = next(r for r in replay.requests if r.method == "POST")
    assert request.path == "/api/adv_search/find/?rectype=file&limit=1000&sort=md5sum"
    assert request.body["search"] == [
        ["instrument", "decam"],
        ["proc_type", "instcal"],
        ["prod_type", "image"],
        ["obs_type", "object"],
        ["exposure", 90.0, 90.0],
        ["caldat", "2012-11-01", "2013-02-28"],
        ["ifilter", "g DECam SDSS c0001 4720.0 1520.0"],
    ]


def test_a_second_run_needs_no_network(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    query = Query("science", bands=("g",))
    first = fetch_decam(tmp_path, query, replay.base, FAST_RETRY)
    replay.requests.clear()
    add_night(replay, "2012-12-10", ("g",))
    assert fetch_decam(tmp_path, query, replay.base, FAST_RETRY).files == first.files
    assert replay.requests == []


@pytest.mark.slow
def test_the_limit_selects_the_same_files_of_each_band_every_time(replay, tmp_path):
    for day in range(10, 15):
        add_night(replay, f"2012-11-{day}", ("g", "r"))
    query = Query("science", bands=("g", "r"), limit=3)
    first = fetch_decam(tmp_path / "1", query, replay.base, FAST_RETRY)
    replay.rows.reverse()
    second = fetch_decam(tmp_path / "2", query, replay.base, FAST_RETRY)
    assert [f.path for f in first.files] == [f.path for f in second.files]
    assert [f.facts["ifilter"][0] for f in first.files] == ["g"] * 3 + ["r"] * 3
    assert len({f.facts["caldat"] for f in first.files}) > 2


def test_unreleased_files_are_left_out_and_counted(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    add_night(replay, "2012-11-11", ("g",), release_date="2199-01-01")
    manifest = fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, FAST_RETRY)
    assert [f.facts["caldat"] for f in manifest.files] == ["2012-11-10"]
    assert manifest.left_out == {"not yet released": 1}
    with pytest.raises(FetchError, match=r"no public instcal object frame in g .*: 1 are not yet released"):
        fetch_decam(tmp_path, Query("science", ("g",), dates=("2012-11-11", "2012-11-12")), replay.base, FAST_RETRY)


def test_one_version_of_each_exposure_is_downloaded(replay, tmp_path):
    row = add_night(replay, "2012-11-10", ("g",))[0]
    facts = {k: row[k] for k in ("caldat", "exposure", "obs_type", "proc_type", "prod_type", "ifilter")}
    replay.add_row("c4d_121110_001500_ooi_g_v1.fits.fz", b"a later version", **facts)
    manifest = fetch_decam(tmp_path, Query("science", bands=("g",)), replay.base, FAST_RETRY)
    assert len(manifest.files) == 1
    assert manifest.left_out == {"another version of an exposure": 1}


def test_the_manifest_says_that_single_ccds_are_checked_without_md5(replay, tmp_path):
    add_night(replay, "2012-11-10", ("g",))
    query = Query("science", bands=("g",), hdus=(2,))
    file = fetch_decam(tmp_path, query, replay.base, FAST_RETRY).files[0]
    assert file.path.endswith("c4d_121110_001500_ooi_g_d2.hdus-0-2.fits.fz")
    assert replay.downloads()[0].path.endswith("/?hdus=0,2")
    assert file.checked == BY_STRUCTURE
    content = (tmp_path / file.path).read_bytes()
    assert (file.size, file.md5) == (len(content), md5(content))
    (tmp_path / file.path).write_bytes(content[:-2880])
    fetch_decam(tmp_path, query, replay.base, FAST_RETRY)
    assert (tmp_path / file.path).read_bytes() == content


def test_an_incomplete_fits_file_of_single_ccds_is_refused(replay, tmp_path, monkeypatch):
    row = add_night(replay, "2012-11-10", ("g",))[0]
    whole = exposure_bytes("instcal", 1)
    for bad, reason in (
        (whole[:-2880], "not a complete FITS file"),
        (b"<html>", "not a complete FITS file"),
        (whole, "downloaded 4 HDUs"),
    ):
        monkeypatch.setattr("helpers.replay_server.cut_hdus", lambda content, numbers, bad=bad: bad)
        hdus = tuple(range(10)) if bad is whole else (2,)
        with pytest.raises(FetchError, match=rf"{row['archive_filename'][-30:-8]}.*{reason}"):
            fetch_decam(tmp_path, Query("science", ("g",), hdus=hdus), replay.base, FAST_RETRY)


def test_without_the_field_ifilter_rows_are_filtered_locally(replay, tmp_path):
    add_night(replay, "2012-11-10")
    del replay.fields["ifilter"]
    manifest = fetch_decam(tmp_path, Query("science", bands=("r",)), replay.base, FAST_RETRY)
    assert ["_r_" in f.path for f in manifest.files] == [True]


def test_an_unknown_field_is_named(replay, tmp_path):
    del replay.fields["obs_type"]
    with pytest.raises(FetchError, match=r"knows no field obs_type, only AIRMASS, EXPNUM, archive_filename"):
        fetch_decam(tmp_path, Query("science"), replay.base, FAST_RETRY)


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
def test_an_invalid_query_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Query(**({"kind": "science"} | given))


# ---------------------------------------------------------------------------------------------------------- the command


def decam_arguments(replay, tmp_path, *more):
    """Return the arguments of a DECam download from the replay server."""
    return ["decam", "--root", str(tmp_path / "noirlab"), "--base", replay.base, *more]


@pytest.mark.slow
def test_the_decam_command_prints_the_size_then_downloads_all_kinds(replay, tmp_path, capsys):
    add_night(replay, "2012-11-10")
    add_dark(replay, 1, 90.0)
    arguments = decam_arguments(replay, tmp_path, "--kind", "science", "dqmask", "darks", "--limit", "1")
    assert main([*arguments, "--dry-run"], FAST_RETRY) == 0
    lines = capsys.readouterr().out.splitlines()
    size = sum(r["filesize"] for r in replay.rows if r.get("prod_type") == "image" and r["proc_type"] == "instcal")
    assert [line.split("-")[0] for line in lines] == ["science", "dqmask", "darks"]
    assert lines[0].endswith(f": 4 file(s), {size / 1000:.0f}kB; 4 to download, {size / 1000:.0f}kB of disk space")
    assert not (tmp_path / "noirlab").exists()
    assert replay.downloads() == []
    assert main(arguments, FAST_RETRY) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [*lines, f"complete: {tmp_path / 'noirlab'}"]
    assert "4 of 4 file(s): 100%" in shown.err
    assert len(replay.downloads()) == 9
    replay.requests.clear()
    assert main(arguments, FAST_RETRY) == 0
    assert replay.requests == []
    assert "4 file(s), " in capsys.readouterr().out


def test_a_failed_file_is_named_the_others_are_downloaded_and_the_exit_code_is_1(replay, tmp_path, capsys):
    rows = add_night(replay, "2012-11-10")
    del replay.files[f"/api/retrieve/{rows[1]['md5sum']}/"]
    replay.faults["/api/adv_search/find/"] = [Fault(500), Fault(429, {"Retry-After": "0"})]
    assert main(decam_arguments(replay, tmp_path, "--kind", "science", "dqmask"), FAST_RETRY) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(
        "error: 1 of 4 file(s) could not be downloaded: science/20121110/ct4m/2012B-0001/c4d_121110_011500_ooi_r"
    )
    assert err.endswith("HTTP 404 (Not found.)); run it again to resume")
    assert len(list((tmp_path / "noirlab").rglob("*.fits.fz"))) == 7  # 3 images, 4 masks


def test_a_misspelt_band_gets_an_error_of_one_line(replay, tmp_path, capsys):
    assert main(decam_arguments(replay, tmp_path, "--bands", "g", "x"), FAST_RETRY) == 1
    assert capsys.readouterr().err == "error: unknown band 'x': expected some of u, g, r, i, z, Y, VR\n"
    assert replay.requests == []
