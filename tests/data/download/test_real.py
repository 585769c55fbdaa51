"""Test downloads of the small real data from replayed origins: checksums, prepared files, resumed commands."""

import csv
import gzip
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.download import prepare
from cosmicgate.data.download import real as origins
from cosmicgate.data.download.__main__ import main, parser
from cosmicgate.data.download.manifest import Manifest, file_pixels_sha256
from helpers.archive_files import BODY, FAST_RETRY, wait_until, write_tar
from helpers.hydra_config import composed_config
from helpers.replay_server import Fault
from helpers.repository import ROOT

RAW, LCO, SPECTRUM = "arcsat/Dark.fits.fz", "lco0m4/x-e91.fits.fz", "spectra/one.fits.gz"
FOOTPRINTS, COADD = "cr/itl_cosmic_rays.fits.gz", "decam/des_coadd_g.fits.fz"
PACKAGE = "slide_lsst-0.3.1.tar.gz"
PIXELS = np.random.default_rng(1).integers(0, 65536, (16, 20)).astype(np.uint16)
SKY = np.random.default_rng(2).normal(0, 1, (2010, 64)).astype(np.float32)
BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    path = pathlib.Path(folder, "slide_lsst-0.3.1.dist-info")
    path.mkdir()
    (path / "METADATA").write_text("Metadata-Version: 2.1\\nName: slide_lsst\\nVersion: 0.3.1\\n")
    return path.name
def build_wheel(*given):
    raise NotImplementedError
"""
BUILD = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def fits_bytes(hdu) -> bytes:
    """Return the content of a FITS file with one HDU."""
    out = BytesIO()
    hdu.writeto(out)
    return out.getvalue()


def spectrum(observer: str) -> bytes:
    """Return a gzipped frame; its pixels do not depend on the observer in its header."""
    return gzip.compress(fits_bytes(fits.PrimaryHDU(PIXELS[:8], fits.Header({"USERID": observer}))), mtime=0)


def footprints() -> fits.BinTableHDU:
    """Make a table of ten footprints of two rows each."""
    values = np.empty(20, object)
    values[:] = [np.arange(1, 2 + n % 3, dtype=np.int32) * 100 for n in range(20)]
    columns = [
        fits.Column("fp_id", "I", array=np.arange(20) // 2),
        fits.Column("x0", "I", array=np.arange(20)),
        fits.Column("y0", "I", array=np.tile([0, 1], 10)),
        fits.Column("pixel_values", "PJ()", "electron", array=values),
    ]
    return fits.BinTableHDU.from_columns(columns, name="COSMIC_RAYS")


def source_package(path: Path, image: np.ndarray, mask: np.ndarray) -> bytes:
    """Make a source package that pip accepts, with the coadd and its mask."""
    content = {"PKG-INFO": b"Metadata-Version: 2.1\nName: slide_lsst\nVersion: 0.3.1\n"}
    content |= {"backend.py": BACKEND.encode(), "pyproject.toml": BUILD.encode()}
    content["example_data/example_decam.fits"] = fits_bytes(fits.PrimaryHDU(image, fits.Header({"GAIN": 52.4})))
    content["example_data/example_decam_mask.fits"] = fits_bytes(fits.PrimaryHDU(mask))
    folder = "slide_lsst-0.3.1"
    return write_tar({f"{folder}/{name}": part for name, part in content.items()}, path).read_bytes()


@pytest.fixture
def listed(replay, tmp_path, monkeypatch):
    """Serve small origins, also to pip; return a function that lists some of them in the table of origins."""
    mask = np.zeros(SKY.shape, np.uint8)
    mask[5, 6] = 4
    (tmp_path / "index").mkdir()
    package = source_package(tmp_path / "index" / PACKAGE, SKY, mask)
    content = {
        RAW: fits_bytes(fits.PrimaryHDU(PIXELS, fits.Header({"EXPTIME": 60.0, "SWOWNER": "somebody"}))),
        LCO: BODY,
        SPECTRUM: spectrum("an observer"),
        FOOTPRINTS: fits_bytes(footprints()),
        COADD: package,
    }
    there = {RAW: "my data/Dark.fits", FOOTPRINTS: "data/cosmic_rays.fits.gz", COADD: PACKAGE}
    steps = {RAW: "compress", FOOTPRINTS: "footprints", COADD: "coadd"}
    (tmp_path / "other.fits.gz").write_bytes(spectrum("removed"))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "index"), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr(origins, "TABLE", tmp_path / "real.csv")

    def table(*names: str) -> dict[str, str]:
        """List files in the table; return their paths on the server."""
        rows, paths = [], {}
        for name in names or content:
            path, pip = there.get(name, name), name == COADD
            sha256, pixels = hashlib.sha256(content[name]).hexdigest(), ""
            if name == SPECTRUM:
                sha256, pixels = "", file_pixels_sha256(tmp_path / "other.fits.gz")
            origin, version = ("pip:slide-lsst", "0.3.1") if pip else ("github:a/b", "c0ffee")
            rows.append([name, origin, version, path, len(content[name]), sha256, pixels, steps.get(name, "copy")])
            if not pip:
                paths[name] = f"/a/b/c0ffee/{path}"
                replay.files[paths[name]] = content[name]
        with (tmp_path / "real.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["file", "origin", "version", "path", "size", "sha256", "pixels_sha256", "step"], *rows])
        return paths

    return table


def fetch(replay, root: Path, *more: str) -> int:
    """Run the command without truth planes; return its exit code."""
    return main(["real", str(root), "--base", replay.base, "--no-labels", *more], FAST_RETRY)


def files(root: Path) -> list[str]:
    """List the files below a folder, but for the manifest and the lock."""
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [name for name in found if name not in (".lock", f"manifest-{origins.real_name()}.json")]


@pytest.mark.slow
def test_a_fetch_has_the_pixels_of_the_origins_and_leaves_nothing_else(replay, tmp_path, listed, monkeypatch, capsys):
    listed()
    root = tmp_path / "real"
    assert fetch(replay, root) == 0, capsys.readouterr().err
    assert files(root) == sorted([RAW, LCO, SPECTRUM, FOOTPRINTS, COADD])
    with fits.open(root / RAW) as hdus:
        assert np.array_equal(hdus["SCI"].data, PIXELS)
        assert hdus["SCI"].header["EXPTIME"] == 60.0
        assert "SWOWNER" not in hdus["SCI"].header
    assert (root / LCO).read_bytes() == BODY
    assert (root / SPECTRUM).read_bytes() == spectrum("an observer")
    with fits.open(root / FOOTPRINTS) as hdus:
        kept = [row for row in footprints().data if row["fp_id"] % 5 < 3]
        assert [list(row["pixel_values"]) for row in hdus[1].data] == [list(row["pixel_values"]) for row in kept]
        assert (hdus[1].header["EXPTIME"], hdus[1].header["NUM_PIX"]) == (1500.0, 16288000)
    with fits.open(root / COADD) as hdus:
        assert np.allclose(hdus["SCI"].data, SKY[:2000], atol=0.1)
        assert hdus["SCI"].header["GAIN"] == 52.4
        assert np.argwhere(hdus["MASK"].data).tolist() == [[5, 6]]
    replay.requests.clear()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert fetch(replay, root) == 0
    assert replay.requests == []


def test_a_dry_run_says_how_much_comes_and_writes_nothing(replay, tmp_path, listed, capsys):
    listed()
    assert fetch(replay, tmp_path / "real", "--dry-run") == 0
    assert ": 5 file(s), about " in (said := capsys.readouterr().out)
    assert "; 5 to download, " in said
    assert not (tmp_path / "real").exists()
    assert replay.requests == []


def test_a_killed_fetch_resumes_where_it_was(replay, tmp_path, listed):
    path = listed(LCO)[LCO]
    root, partial = tmp_path / "real", tmp_path / "real" / f"{LCO}.partial"
    replay.faults[path] = [Fault(stall=200_000)]
    code = (
        "import sys; from pathlib import Path; from cosmicgate.data.download import real\n"
        "real.TABLE = Path(sys.argv.pop(1)); from cosmicgate.data.download.__main__ import main; sys.exit(main())"
    )
    run = [sys.executable, "-c", code, str(origins.TABLE), "real", str(root), "--base", replay.base, "--no-labels"]
    with subprocess.Popen(run, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE) as first:
        assert wait_until(lambda: partial.is_file() and partial.stat().st_size == 200_000)
        first.send_signal(signal.SIGKILL)
    assert fetch(replay, root) == 0
    assert [(r.start, r.sent) for r in replay.downloads()][1:] == [(200_000, len(BODY) - 200_000)]
    assert (root / LCO).read_bytes() == BODY


def test_a_kill_after_the_preparation_fetches_nothing_again(replay, tmp_path, listed, monkeypatch):
    listed(RAW)
    write = Manifest.write

    def stopped(self, path):
        if any(file.unpacked for file in self.files):
            raise KeyboardInterrupt
        write(self, path)

    with monkeypatch.context() as killed:
        killed.setattr(Manifest, "write", stopped)
        assert fetch(replay, tmp_path / "real") == 130
    replay.requests.clear()
    assert fetch(replay, tmp_path / "real") == 0
    assert replay.requests == []
    assert files(tmp_path / "real") == [RAW]


@pytest.mark.parametrize(
    ("name", "sent", "message"),
    [
        (LCO, BODY[::-1], "downloaded 300000 bytes with SHA-256 "),
        (RAW, BODY, "downloaded 300000 bytes with SHA-256 "),
        (SPECTRUM, gzip.compress(fits_bytes(fits.PrimaryHDU(PIXELS[8:]))), "downloaded pixel values with SHA-256 "),
        (SPECTRUM, b"<html>", "not a complete FITS file"),
    ],
)
def test_other_content_is_named_and_never_gets_to_its_place(replay, tmp_path, listed, capsys, name, sent, message):
    other = LCO if name == RAW else RAW
    replay.faults[listed(name, other)[name]] = [Fault(content=sent), Fault(content=sent)]
    assert fetch(replay, tmp_path / "real") == 1
    assert message in capsys.readouterr().err
    assert files(tmp_path / "real") == [other]
    assert fetch(replay, tmp_path / "real") == 0, "the origin has the right one again"
    assert files(tmp_path / "real") == sorted([name, other])


def test_a_file_that_is_gone_is_named_and_the_others_come(replay, tmp_path, listed, capsys):
    path = listed(RAW, LCO)[RAW]
    del replay.files[path]
    assert fetch(replay, tmp_path / "real") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 1 of 2 file(s) could not be downloaded: arcsat/Dark.fits (")
    assert "my%20data/Dark.fits: HTTP 404" in error
    assert files(tmp_path / "real") == [LCO]


def test_a_changed_product_is_found_and_made_again(replay, tmp_path, listed):
    listed(RAW)
    assert fetch(replay, tmp_path / "real") == 0
    content = (tmp_path / "real" / RAW).read_bytes()
    (tmp_path / "real" / RAW).write_bytes(content[:-1] + b"?")
    assert fetch(replay, tmp_path / "real", "--verify") == 0
    assert (tmp_path / "real" / RAW).read_bytes() == content


@pytest.mark.slow
def test_truth_planes_are_the_last_step(replay, tmp_path, listed, capfd):
    listed(LCO)
    assert main(["real", str(tmp_path / "real"), "--base", replay.base], FAST_RETRY) == 1
    error = capfd.readouterr().err
    assert "lco0m4: expected a multiple of 3 frames *.fits.fz, found 1" in error
    assert "all files are there, but not all truth planes could be made; --no-labels leaves them out" in error
    assert files(tmp_path / "real") == [LCO]


def test_without_pip_the_error_says_what_to_do_and_it_works(replay, tmp_path, listed, monkeypatch, capsys):
    listed(COADD)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    root = tmp_path / "real"
    assert fetch(replay, root) == 1
    assert f"or put {PACKAGE}, the source package of slide-lsst==0.3.1, into {root}/decam" in capsys.readouterr().err
    (root / "decam" / PACKAGE).write_bytes((tmp_path / "index" / PACKAGE).read_bytes())
    assert fetch(replay, root) == 0
    assert files(root) == [COADD]


def test_another_source_package_of_that_version_is_refused_before_it_runs(replay, tmp_path, listed, capsys):
    listed(COADD)
    source_package(tmp_path / "index" / PACKAGE, SKY[::-1], np.zeros(SKY.shape, np.uint8))
    assert fetch(replay, tmp_path / "real") == 1
    assert "pip download failed (THESE PACKAGES DO NOT MATCH THE HASHES" in capsys.readouterr().err
    assert files(tmp_path / "real") == []


# ------------------------------------------------------------------------------------------- the table, the real files


def test_the_table_is_that_of_the_small_real_data(real):
    """The coadd's origin is a source package here, which holds the file that the other table names."""
    with real("SOURCES.tsv").open() as file, origins.TABLE.open() as own:
        given = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
        rows = {row["file"]: row for row in csv.DictReader(own)}
    assert rows.keys() == given.keys()
    for name in rows.keys() - {COADD}:
        row, one = rows[name], given[name]
        assert [row["origin"].replace(":", " "), row["version"], row["path"], row["sha256"]] == [
            *(one[key] for key in ("origin", "version", "path there", "sha256 there")),
        ]
        if not row["sha256"]:
            assert file_pixels_sha256(real(name)) == row["pixels_sha256"]


@pytest.mark.parametrize("name", ["arcsat/XO1-b_z_20250602_041008.fits.fz", "m13/M13_sdss_g_20190503_090311.fits.fz"])
def test_compression_keeps_every_pixel_and_what_is_read_of_the_header(real, tmp_path, name):
    with fits.open(real(name)) as hdus:
        given = hdus["SCI"].copy()
    fits.PrimaryHDU(given.data, given.header).writeto(tmp_path / "raw.fits")
    prepare.compress(tmp_path / "raw.fits").writeto(tmp_path / "made.fits.fz")
    with fits.open(tmp_path / "made.fits.fz") as hdus:
        assert hdus["SCI"].data.dtype == given.data.dtype
        assert np.array_equal(hdus["SCI"].data, given.data)
        for word in ("EXPTIME", "DATE-OBS", "FILTER", "CRVAL1", "CD1_1"):
            assert hdus["SCI"].header.get(word) == given.header.get(word)


def test_the_selected_footprints_are_those_at_hand(real, tmp_path):
    with fits.open(real(FOOTPRINTS)) as hdus:
        given = hdus[1].data
        more = np.concatenate([given["fp_id"], [3, 4, 8]])
        values = np.empty(len(more), object)
        values[:] = [*given["pixel_values"], *(np.array([7, 7], np.int32),) * 3]
        columns = [fits.Column("fp_id", "I", array=more)]
        columns += [fits.Column(name, "I", array=np.concatenate([given[name], [0, 0, 0]])) for name in ("x0", "y0")]
        columns.append(fits.Column("pixel_values", "PJ()", array=values))
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "all.fits.gz")
        made = prepare.select_footprints(tmp_path / "all.fits.gz")[1]
        assert np.array_equal(made.data["fp_id"], given["fp_id"])
        for name in ("x0", "y0", "pixel_values"):
            assert all(np.array_equal(a, b) for a, b in zip(made.data[name], given[name], strict=True))
        for word in ("EXPTIME", "NUM_PIX", "PIXSIZE", "THICK"):
            assert made.header[word] == hdus[1].header[word]


def test_the_cut_coadd_is_that_at_hand(real, tmp_path):
    """Compressing what was compressed moves a value by one step at most; from the origin the values are the same."""
    with fits.open(real(COADD)) as hdus:
        image, mask = (np.vstack([hdus[name].section[:, :128]] * 2) for name in ("SCI", "MASK"))
    source_package(tmp_path / PACKAGE, image, mask)
    prepare.cut_coadd(tmp_path / PACKAGE).writeto(tmp_path / "made.fits.fz")
    with fits.open(tmp_path / "made.fits.fz") as made:
        assert made["SCI"].data.shape == (2000, 128)
        assert np.abs(made["SCI"].data - image[:2000]).max() < 0.2
        assert np.array_equal(made["MASK"].data, mask[:2000])


def test_make_data_real_fetches_to_where_the_configuration_reads(tmp_path, monkeypatch):
    monkeypatch.delenv("COSMICGATE_REAL", raising=False)
    assert Path(composed_config("data=real_lco0m4", name="evaluate").real) == parser().parse_args(["real"]).root
    assert composed_config(name="train").real == "data/real"
    monkeypatch.setenv("COSMICGATE_REAL", "/elsewhere")
    assert composed_config("data=real_lco0m4", name="evaluate").real == "/elsewhere"
    run = ["make", "-o", "setup", "data-real", f"BIN={Path(sys.executable).parent}", f"ARGS={tmp_path / 'x'} --dry-run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ": 67 file(s), about 185MB; 67 to download, " in done.stdout, done.stderr
