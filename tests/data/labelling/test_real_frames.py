"""Test the truth planes of the small real data: how they are made, kept, and compared with others."""

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.labelling.multi_exposure import Comparison, read_exposure
from cosmicgate.data.labelling.real_frames import (
    SETS,
    PlaneAgreement,
    RealSet,
    compare_planes,
    main,
    make_planes,
    truth_planes,
)
from cosmicgate.data.lco.io import science_header
from cosmicgate.data.lco.simulation import simulate_triple
from cosmicgate.data.sources.frames_with_truth import median_dark, read_plane
from cosmicgate.io.fits.frames import Frame


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Write three exposures of a simulated field where those of the LCO 0.4 m telescope are looked for."""
    folder = tmp_path_factory.mktemp("real") / "lco0m4"
    folder.mkdir()
    paths = [folder / f"frame-{number}.fits.fz" for number in range(3)]
    for path, one in zip(paths, simulate_triple("1m0", [0, 11], (300, 300), rate=40).exposures, strict=True):
        image = fits.CompImageHDU(one.exposure.frame.image, science_header(one.exposure), name="SCI")
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    return paths


@pytest.mark.slow
def test_planes_are_the_labels_with_a_ring_and_are_made_once(frames, capsys, monkeypatch):
    monkeypatch.setitem(SETS, "lco0m4", replace(SETS["lco0m4"], header_overrides={}))  # the simulated headers are right
    root = frames[0].parents[1]
    main([str(root), "--only", "lco0m4"])
    assert capsys.readouterr().out.startswith("truth of lco0m4: 1 of 1, ")
    planes = [path.parent / "truth" / path.name.replace(".fits.fz", "_truth.fits.fz") for path in frames]
    masked = Comparison()([read_exposure(path) for path in frames])
    for path, truth, hits, ignore in zip(planes, truth_planes(masked), masked.hits, masked.ignore, strict=True):
        plane = read_plane(path)
        assert np.array_equal(plane, truth)
        assert np.array_equal(plane == 1, hits)
        assert np.array_equal(plane == 3, (ignore > 0) & ~hits)
        assert (plane == 2).any()
    written = [path.stat().st_mtime_ns for path in planes]
    main([str(root), "--only", "lco0m4", "--compare", str(root)])
    assert [path.stat().st_mtime_ns for path in planes] == written
    with fits.open(planes[1], mode="update") as hdus:
        hdus["TRUTH"].header["CRINPUT"] = "of other pixels"
    assert len(list(make_planes(root, ["lco0m4"]))) == 1, "planes of other versions of the frames are made again"
    said = re.fullmatch(
        r"lco0m4, 3 frames: (\d+) hits in the reference: (\d+) found, 0 missed, .*\n", capsys.readouterr().out
    )
    assert int(said[1]) == int(said[2]) > 10


def test_the_exposure_time_of_darks_can_be_given(tmp_path):
    rng = np.random.default_rng(0)
    darks = [tmp_path / f"dark-{number}.fits" for number in range(3)]
    for path in darks:
        fits.writeto(path, rng.normal(1500, 10, (40, 40)).astype(np.float32))
    sky = Frame(rng.normal(1700, 10, (40, 40)).astype(np.float32), 1.37, 16.2, 65000.0, exptime=60.0)
    with pytest.raises(ValueError, match="lacks exptime"):
        median_dark(darks, sky)
    assert np.median(median_dark(darks, sky, exptime=60.0)) == pytest.approx(1500, abs=2)
    fits.setval(darks[1], "EXPTIME", value=10.0)  # the time that is given is that of the exposures
    with pytest.raises(ValueError, match=r"dark-1\.fits: expected a dark like .* and 60 s; got .* and 10 s"):
        median_dark(darks, sky, exptime=60.0)


def test_a_hole_that_the_darks_leave_is_a_bad_pixel(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("sky-0", "dark-0", "dark-1", "dark-2"):
        image = rng.normal(1500, 10, (40, 40)).astype(np.float32)
        image[7, 9] += 700 * name.startswith("dark")
        fits.PrimaryHDU(image, fits.Header({"EXPTIME": 60.0})).writeto(tmp_path / f"{name}.fits")
    known = {"gain": 1.37, "read_noise": 16.2, "saturation": 65000.0}
    read = RealSet("sky-*.fits", 1, known, "dark-*.fits").read(tmp_path / "sky-0.fits")
    assert np.argwhere(read.frame.bad).tolist() == [[7, 9]]
    assert abs(np.median(read.frame.image)) < 5


def test_missing_frames_are_named(frames, tmp_path):
    (tmp_path / "lco0m4").mkdir()
    for path in frames[:2]:
        (tmp_path / "lco0m4" / path.name).symlink_to(path)
    with pytest.raises(SystemExit, match=r"expected a multiple of 3 frames \*\.fits\.fz, found 2"):
        main([str(tmp_path), "--only", "lco0m4"])


def test_agreement_counts_each_kind_of_hit():
    reference, plane = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    reference[5, 5:8] = plane[5, 6:9] = 1  # both have it, shifted by a pixel
    reference[5, 8] = 2
    reference[15, 5] = 1  # missed
    reference[25, 5], plane[24:27, 4:7] = 1, 3  # not known here
    plane[15, 25] = 1  # on the reference sky
    plane[25, 25], reference[24:27, 24:27] = 1, 3  # not known there
    found = PlaneAgreement(
        reference_hits=3,
        found=1,
        unknown=1,
        hits=3,
        confirmed=1,
        unknown_in_reference=1,
        core_in_both=2,
        core_in_plane=1,
        core_in_reference=2,
    )
    assert compare_planes(plane, reference) == found
    assert str(found).startswith(
        "3 hits in the reference: 1 found, 1 missed, 1 in unknown pixels; 3 hits here: 1 confirmed, 1 on"
    )
