"""Test that pixels which repeat in the darks of a camera are defects, and how a user's data are named."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.background import dark_mask
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.sources import Coadd, Files, Footprints
from cosmicgate.data.sources.noirlab import Noirlab
from cosmicgate.data.sources.raw_darks import Darks
from cosmicgate.data.sources.raw_darks import repeats as module
from cosmicgate.data.sources.raw_darks.repeats import find_repeating
from cosmicgate.data.sources.simulated import SimulatedDarks, SimulatedScience
from cosmicgate.data.splits import SPLITS
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.instruments import camera_name

SHAPE, NOISE, PEDESTAL = (160, 160), 8.0, 1300.0
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


class Camera:
    """Simulate a camera with hot, warm and flickering pixels, a hot column and a glow, whose hits are known."""

    def __init__(self, seed=0):
        self.rng = rng = np.random.default_rng(seed)
        self.rate = np.zeros(SHAPE)  # ADU per second
        self.hot = tuple(rng.integers(4, 156, (2, 300)))
        self.rate[self.hot] = rng.lognormal(1.0, 1.0, 300)
        self.column = np.zeros(SHAPE)
        self.column[30:, 77] = 200
        self.flicker = tuple(rng.integers(4, 156, (2, 20)))
        rows, columns = np.indices(SHAPE)
        self.glow = 0.5 * np.exp(-np.hypot(rows, columns) / 60)

    def dark(self, exptime=60.0, tracks=4):
        rng, hits = self.rng, np.zeros(SHAPE)
        for _ in range(tracks):
            row, column, length = rng.integers(10, 140), rng.integers(10, 140), rng.integers(3, 9)
            hits[row, column : column + length] = rng.uniform(300, 2000)
        mean = (self.rate + self.glow) * exptime + self.column
        mean[self.flicker] += rng.integers(0, 2, 20) * 400
        return rng.normal(PEDESTAL + mean, NOISE) + hits, hits > 0


def write_dark(path, image, exptime=60.0, **cards):
    """Write an image (H, W), ADU, with a complete header; return its path."""
    header = fits.Header({"EXPTIME": exptime, "GAIN": 1.4, "RDNOISE": NOISE * 1.4, "SATURATE": 60000.0} | cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)
    return path


def write_darks(folder, number, camera=None, exptimes=(60.0,), **cards):
    """Write darks of a camera; return the masks of their hits by name."""
    camera, hit_masks = camera or Camera(), {}
    for n in range(number):
        image, hits = camera.dark(exptimes[n % len(exptimes)])
        write_dark(folder / f"dark-{n}.fits", image, exptimes[n % len(exptimes)], **({"INSTRUME": "My Cam 9"} | cards))
        hit_masks[f"dark-{n}"] = hits
    return hit_masks


def all_frames(source):
    """Read the frames of all splits of a source."""
    return [lazy.build() for which in SPLITS for lazy in source.lazy_frames(which)]


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("exptimes", [(60.0,), (60.0, 180.0)])
def test_hot_pixels_are_not_hits_and_real_hits_are_kept(tmp_path, caplog, number, exptimes):
    hit_masks = write_darks(tmp_path, number, exptimes=exptimes)
    fractions = {"train": 0.5, "test": 0.5} if number == 2 else FRACTIONS
    with caplog.at_level(logging.INFO):
        frames = all_frames(Darks(str(tmp_path / "*.fits"), fractions))
    found = false = 0
    for frame in frames:
        mask, hits = dark_mask(frame, edge=2), hit_masks[frame.name]
        found += (mask & hits).sum()
        false += (mask & ~hits).sum()
    total = sum(hits.sum() for hits in hit_masks.values())
    assert found > 0.9 * total
    assert false < 0.1 * total + 20 * number / 4 + 5  # some of the 20 flickering pixels are bright in one dark only
    messages = [r.getMessage() for r in caplog.records if "repeat" in r.getMessage()]
    assert any(
        f"{number} darks of camera my-cam-9: " in line and "pixels repeat and are no hits" in line for line in messages
    )


def test_without_comparison_darks_have_hundreds_of_false_hits(tmp_path):
    """Show what the comparison is needed for."""
    hit_masks = write_darks(tmp_path, 3)
    bare = all_frames(Darks(str(tmp_path / "*.fits"), FRACTIONS, compare=False))
    assert sum((dark_mask(frame, edge=2) & ~hit_masks[frame.name]).sum() for frame in bare) > 300


def test_the_level_and_glow_of_darks_are_subtracted(tmp_path):
    write_darks(tmp_path, 3)
    for frame in all_frames(Darks(str(tmp_path / "*.fits"), FRACTIONS)):
        assert abs(np.median(frame.image)) < NOISE / 2
        assert abs(np.median(frame.image[:40, :40])) < NOISE  # the glow
        assert frame.saturation == pytest.approx(60000 - PEDESTAL, rel=0.01)


def test_a_hit_across_a_hot_pixel_is_kept_completely():
    rng = np.random.default_rng(3)
    images = rng.normal(100, 5, (4, 96, 96))
    images[:, 50, 50] += 200
    images[1, 50, 47:54] += 800
    frames = [Frame(i.astype(np.float32), 1.0, 5.0, 6e4, 60.0, name=str(n)) for n, i in enumerate(images)]
    found = find_repeating([lambda frame=frame: frame for frame in frames])
    assert found.pixels[50, 50]
    assert found.pixels.sum() < 5
    assert found.charge[50, 50] * 60 == pytest.approx(200, abs=20)
    lazy_frames = [module.LazyFrame(f.name, f.name, lambda f=f: f) for f in frames]
    reduced = [lazy.build() for lazy in module.compare_darks(lazy_frames, "x")]
    assert dark_mask(reduced[1])[50, 47:54].all()
    assert reduced[1].image[50, 50] == pytest.approx(800, abs=40)
    assert all(frame.bad[50, 50] for n, frame in enumerate(reduced) if n != 1)


def test_darks_of_different_cameras_or_windows_are_not_compared(tmp_path, caplog):
    write_darks(tmp_path / "a", 2, Camera(1), INSTRUME="one")
    for n, path in enumerate(sorted((tmp_path / "a").glob("*"))):
        path.rename(path.with_name(f"a-{n}.fits"))
    write_darks(tmp_path / "b", 2, Camera(2), INSTRUME="one", XORGSUBF=200)
    with caplog.at_level(logging.INFO):
        all_frames(Darks([str(tmp_path / "*" / "*.fits")], {"train": 0.5, "test": 0.5}))
    assert sum("2 darks of camera one" in r.getMessage() for r in caplog.records) >= 1
    assert not any("4 darks" in r.getMessage() for r in caplog.records)


def test_a_single_dark_needs_a_mask_and_the_log_says_so(tmp_path, caplog):
    camera = Camera(5)
    write_darks(tmp_path, 1, camera)
    source = Darks(str(tmp_path / "*.fits"), {"train": 1.0})
    with caplog.at_level(logging.WARNING):
        all_frames(source)
    messages = "\n".join(r.getMessage() for r in caplog.records)
    assert "1 dark of camera my-cam-9: nothing to compare it with" in messages
    assert "hits are of one or two pixels: they may be hot pixels" in messages
    bad = np.zeros(SHAPE, np.uint8)
    bad[camera.hot] = 1
    fits.PrimaryHDU(bad).writeto(tmp_path / "bpm.fit")
    for mask in (str(tmp_path / "bpm.fit"), {"My-Cam-9": str(tmp_path / "bpm.fit")}):
        (frame,) = all_frames(replace(source, mask=mask))
        assert frame.bad[camera.hot].all()
    with pytest.raises(ValueError, match="expected a mask of camera 'my-cam-9', got some of other"):
        all_frames(replace(source, mask={"other": "x.fits"}))


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"INSTRUME": "dcam-spare", "TELESCOP": "ARCSAT"}, "dcam-spare"),
        ({"INSTRUME": "DECam"}, "decam"),
        ({"CAMERA": "ZWO ASI 1600/MM"}, "zwo-asi-1600-mm"),
        ({"INSTRUME": " ", "TELESCOP": "0.5-m"}, "0.5-m"),
        ({"INSTRUME": "lco imitation"}, "camera-lco-imitation"),
        ({}, "my-night"),
    ],
)
def test_a_camera_is_named_by_its_headers_or_its_folder(tmp_path, cards, name):
    assert camera_name([fits.Header(cards)], tmp_path / "My night" / "a.fits") == name


def test_data_of_a_users_files_are_named_after_the_camera_and_are_no_benchmark(tmp_path):
    write_darks(tmp_path / "darks", 3)
    rng = np.random.default_rng(0)
    for n in range(3):
        write_dark(tmp_path / "night" / f"s{n}.fits", rng.normal(300, 20, (128, 128)), INSTRUME="My Cam 9", FILTER="r")
    own = Files(str(tmp_path / "night" / "*.fits"), FRACTIONS)
    dark = Darks(str(tmp_path / "darks" / "*.fits"), FRACTIONS)
    simulated = (SimulatedScience({"test": 1}), SimulatedDarks({"test": 1}))

    def data(science, darks, **settings):
        return DecamData(science, darks, PaperRecipe(**settings), str(tmp_path), GridSampler(32))

    assert (data(own, dark).name, data(own, dark).benchmark) == ("my-cam-9", "")
    assert data(own, dark).test_sets()[0].name == "my-cam-9"
    assert (data(*simulated).name, data(*simulated).benchmark) == ("decam", ""), "the benchmark has real frames"
    real = (Noirlab("science", str(tmp_path)), Noirlab("darks", str(tmp_path)))
    coadd, footprints = Coadd("sky.fits"), Footprints("hits.fits", (128, 128))
    assert data(coadd, footprints).benchmark == "", "neither sky nor hits are those of the benchmark"
    assert data(*real).benchmark == "decam"
    assert data(real[0], dark).benchmark == "", "the hits are not of DECam"
    assert data(*real, ring=False).benchmark == "decam", "the test always has a ring"
    assert DecamData(*real, PhysicalRecipe(), str(tmp_path), GridSampler(32)).benchmark == "", (
        "the benchmark uses the paper's recipe"
    )
    other = (SimulatedScience({"test": 1}, ccd="1m0"), SimulatedDarks({"test": 1}, ccd="1m0"))
    assert (data(*other).name, data(*other).benchmark) == ("1m0", "")
