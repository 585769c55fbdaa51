"""Test real frames with truth planes as a test set, on small files in the layout of the real ones."""

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.cache import load_labelled
from cosmicgate.data.labelling.write_truth_planes import write_plane
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.real_tests import RealTest
from cosmicgate.data.sources import Files, FramesWithTruth
from cosmicgate.data.sources.frames_with_truth import mark_negative_pixels
from cosmicgate.io.atomic import sha256_of
from cosmicgate.io.fits.frames import Frame

SHAPE = (40, 30)
HEADER = {"GAIN": 2.0, "RDNOISE": 6.0, "SATURATE": 5e4, "EXPTIME": 60.0, "FILTER": "g", "DAY-OBS": "20170817"}
HEADER |= {"INSTRUME": "Sinistro 1"}


def write_image(path, image, **header):
    """Write an image (H, W) as the extension SCI of a file."""
    plane = fits.ImageHDU(image, fits.Header(HEADER | header), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), plane]).writeto(path)


@pytest.fixture
def night(tmp_path):
    """Write two frames of one field and one of another, and their truth planes into a folder ``truth``."""
    rng = np.random.default_rng(0)
    (tmp_path / "truth").mkdir()
    for name, band in [("a", "g"), ("b", "g"), ("c", "r")]:
        image = rng.normal(500, 20, SHAPE).astype(np.float32)
        image[0, 0] = np.nan
        write_image(tmp_path / f"{name}.fits", image, FILTER=band)
        truth = np.zeros(SHAPE, np.uint8)
        truth[9:12, 9:12], truth[10, 10], truth[20], truth[0, 0] = 2, 1, 3, 1
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(truth, name="TRUTH")]).writeto(
            tmp_path / "truth" / f"{name}_truth.fits.fz"
        )
    return tmp_path


def frames_with_truth(night, **settings):
    return FramesWithTruth(str(night / "*.fits"), "night", truth=str(night / "truth"), **settings)


def test_frames_of_one_name_with_one_truth_plane_are_refused(night):
    (night / "other").mkdir()
    write_image(night / "other" / "b.fits", np.ones(SHAPE, np.float32))
    files = [str(night / "*.fits"), str(night / "other" / "*.fits")]
    with pytest.raises(ValueError, match="expected a name for each frame, found more than one 'b'"):
        FramesWithTruth(files, "night", truth=str(night / "truth")).lazy_labelled_frames()
    assert len(FramesWithTruth(files, "night", truth="none").paths()) == 4


def test_a_pattern_of_frames_leaves_out_the_labels_beside_them(night):
    frame, truth = night / "a.fits", np.zeros(SHAPE, np.uint8)
    for name in ("a_truth.fits.fz", "a_truth_01234567.fits.fz"):
        write_plane(night / name, truth, frame)
    frames = FramesWithTruth(str(night / "a*.fits*"), "night", truth=str(night))
    assert frames.paths() == Files(str(night / "a*.fits*")).paths() == [frame]
    assert frames.lazy_labelled_frames()[0].name == "a"
    with pytest.raises(FileNotFoundError, match=r"^no file matches .*, except masks or labels of cosmicgate$"):
        Files(str(night / "*_truth.fits.fz")).paths()


def test_truth_planes_become_labels_and_bad_pixels_are_ignored(night):
    test = RealTest(str(night / "cache"), frames_with_truth(night, field_keywords=["FILTER", "DAY-OBS"]), "night")
    test.prepare_data()
    (test_set,) = test.test_sets()
    assert (test_set.name, test_set.data_origin, len(test_set.folders)) == ("night", "real", 3)
    assert test_set.cameras == ("sinistro-1",)
    frames = [load_labelled(folder) for folder in test_set.folders]
    truth = frames[0].truth
    assert truth[10, 10] == CORE
    assert truth[9, 9] == RING
    assert (truth[20] == IGNORED).all()
    assert truth[0, 0] == IGNORED
    assert (truth == SKY).sum() == truth.size - 9 - SHAPE[1] - 1
    assert [frame.facts["field"] for frame in frames] == ["g 20170817", "g 20170817", "r 20170817"]
    assert all(frame.facts["dilated"] for frame in frames)


def test_the_median_dark_is_subtracted(night):
    rng = np.random.default_rng(1)
    pattern = rng.uniform(100, 200, SHAPE).astype(np.float32)
    for number in range(3):
        dark = pattern.copy()
        dark[number, 5] = 9000  # a hit in each dark at another pixel
        write_image(night / f"dark{number}.fit", dark)
    plain = frames_with_truth(night).lazy_labelled_frames()[0].build()[0]
    lazy = frames_with_truth(night, darks=str(night / "dark*.fit")).lazy_labelled_frames()[0]
    frame = lazy.build()[0]
    good = ~frame.bad
    np.testing.assert_allclose(frame.image[good], (plain.image - pattern)[good], rtol=1e-4)
    assert frame.saturation == pytest.approx(5e4 - np.median(pattern))
    assert lazy.key != frames_with_truth(night).lazy_labelled_frames()[0].key


def test_bad_pixels_of_a_dark_are_left_out_of_the_median_and_bad_where_all_are(night):
    for number in range(3):
        dark = np.full(SHAPE, 100.0 + number, np.float32)
        dark[5, 5] = 9000 if number == 0 else np.nan  # good in one dark only
        dark[:, 7] = np.nan
        write_image(night / f"dark{number}.fit", dark)
    plain = frames_with_truth(night).lazy_labelled_frames()[0].build()[0]
    frame = frames_with_truth(night, darks=str(night / "dark*.fit")).lazy_labelled_frames()[0].build()[0]
    assert frame.bad[:, 7].all()
    assert not frame.bad[5, 5]
    assert plain.image[5, 5] - frame.image[5, 5] == pytest.approx(9000)
    assert plain.image[6, 6] - frame.image[6, 6] == pytest.approx(101)
    assert frame.saturation == pytest.approx(5e4 - 101)


def test_biases_may_have_the_shortest_exposure_time_of_a_camera(tmp_path):
    write_image(tmp_path / "a.fits", np.full(SHAPE, 1500, np.float32))
    write_image(tmp_path / "dark.fit", np.full(SHAPE, 400, np.float32), EXPTIME=30.0)
    write_image(tmp_path / "bias.fit", np.full(SHAPE, 300, np.float32), EXPTIME=3.2e-5)
    files = {"darks": str(tmp_path / "dark.fit"), "biases": str(tmp_path / "bias.fit")}
    test = FramesWithTruth(str(tmp_path / "a.fits"), "night", truth="none", **files)
    assert test.read(tmp_path / "a.fits").image == pytest.approx(1500 - 300 - 2 * 100)
    fits.setval(tmp_path / "bias.fit", "EXPTIME", value=2.0, ext=1)
    with pytest.raises(ValueError, match=r"bias\.fit: expected a bias like a, \(40, 30\) and at most 0\.3 s; got"):
        test.read(tmp_path / "a.fits")


@pytest.mark.parametrize(("frames", "darks"), [("adu", "electron"), ("electron", "adu")])
def test_darks_in_another_unit_than_the_frames_are_refused(tmp_path, frames, darks):
    write_image(tmp_path / "a.fits", np.full(SHAPE, 1500, np.float32), BUNIT=frames)
    write_image(tmp_path / "dark.fit", np.full(SHAPE, 1000, np.float32), BUNIT=darks)
    test = FramesWithTruth(str(tmp_path / "a.fits"), "night", truth="none", darks=str(tmp_path / "dark.fit"))
    with pytest.raises(ValueError, match=r"dark\.fit is in \w+, a in \w+ \(BUNIT\): expected one unit"):
        test.read(tmp_path / "a.fits")


def test_a_file_may_hold_frame_and_truth(tmp_path):
    truth = np.zeros(SHAPE, np.uint8)
    truth[3, 4] = 1
    image = fits.ImageHDU(np.full(SHAPE, 300, np.float32), fits.Header(HEADER), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image, fits.ImageHDU(truth, name="TRUTH")]).writeto(tmp_path / "a.fits")
    frame, labels, facts = FramesWithTruth(str(tmp_path / "a.fits"), "own").lazy_labelled_frames()[0].build()
    assert np.argwhere(labels == CORE).tolist() == [[3, 4]]
    assert facts == {"name": "a", "field": "a", "dilated": False}  # without a ring, only the core is scored
    assert not frame.bad.any()


def test_missing_files_and_cards_are_named(night):
    with pytest.raises(FileNotFoundError, match=r"no file matches .*none"):
        FramesWithTruth(str(night / "none*.fits"), "night").lazy_labelled_frames()
    write_image(night / "d.fits", np.full(SHAPE, 300, np.float32))
    with pytest.raises(FileNotFoundError, match=r"d\.fits: no truth plane d_truth\.fits"):
        frames_with_truth(night).lazy_labelled_frames()
    write_image(night / "dark.fit", np.full(SHAPE, 300, np.float32), EXPTIME=30.0)
    (night / "d.fits").unlink()
    with pytest.raises(ValueError, match=r"dark\.fit: expected a dark like a, .* and 60 s; got .* and 30 s"):
        frames_with_truth(night, darks=str(night / "dark.fit")).lazy_labelled_frames()[0].build()
    with pytest.raises(ValueError, match=r"expected MOON in the header"):
        frames_with_truth(night, field_keywords=["FILTER", "MOON"]).lazy_labelled_frames()[0].build()


@pytest.mark.parametrize(
    ("plane", "name", "message"),
    [
        (np.zeros((8, 8), np.uint8), "TRUTH", r"the truth is \(8, 8\), the image \(40, 30\)"),
        (np.full(SHAPE, 7, np.uint8), "TRUTH", r"expected the codes .* got \[7\]"),
        (np.zeros(SHAPE, np.uint8), "MASK", "expected an HDU named TRUTH"),
    ],
)
def test_an_invalid_truth_plane_is_refused(night, plane, name, message):
    path = night / "truth" / "a_truth.fits.fz"
    path.unlink()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane, name=name)]).writeto(path)
    with pytest.raises(ValueError, match=message):
        frames_with_truth(night).lazy_labelled_frames()[0].build()


def test_darks_of_another_exposure_time_are_scaled_with_biases(night):
    rng = np.random.default_rng(1)
    bias, current = (rng.uniform(low, high, SHAPE).astype(np.float32) for low, high in [(100, 110), (0, 90)])
    write_image(night / "bias.fit", bias, EXPTIME=0.0)
    write_image(night / "dark.fit", bias + current, EXPTIME=120.0)
    plain = frames_with_truth(night).lazy_labelled_frames()[0].build()[0]
    darks = {"darks": str(night / "dark.fit"), "biases": str(night / "bias.fit")}
    frame = frames_with_truth(night, **darks).lazy_labelled_frames()[0].build()[0]
    good = ~frame.bad
    np.testing.assert_allclose(frame.image[good], (plain.image - bias - current / 2)[good], rtol=1e-4)
    with pytest.raises(ValueError, match="biases without darks"):
        frames_with_truth(night, biases=darks["biases"]).lazy_labelled_frames()
    with pytest.raises(ValueError, match=r"bias\.fit: expected a dark of more than 0 s"):
        frames_with_truth(night, darks=darks["biases"], biases=darks["biases"]).lazy_labelled_frames()[0].build()


def test_without_truth_no_pixel_is_scored_and_the_folder_is_not_read(night):
    frames = FramesWithTruth(str(night / "*.fits"), "night", truth="none")
    _, labels, facts = frames.lazy_labelled_frames()[0].build()
    assert (labels == IGNORED).all()
    assert facts["hot_pixels"] == {"row": [], "column": []}  # three frames tell that there are none
    assert frames.lazy_labelled_frames()[0].key != frames_with_truth(night).lazy_labelled_frames()[0].key


def test_pixels_deep_below_the_sky_of_a_dark_subtracted_frame_are_bad():
    image = np.random.default_rng(0).normal(0, 5, (64, 64)).astype(np.float32)
    image[3, 4], image[9, 9] = -200, 200
    bad = mark_negative_pixels(Frame(image=image, gain=1.0, read_noise=5.0, saturation=1e5, exptime=60.0, name="a")).bad
    assert bad[3, 4]
    assert not bad[9, 9]
    assert bad.sum() == 1


def test_a_frame_matched_by_two_patterns_is_one_frame(night):
    files = [str(night / "*.fits"), str(night / "a.fits")]
    test = RealTest(str(night / "cache"), FramesWithTruth(files, "night", truth=str(night / "truth")), "night")
    test.prepare_data()
    assert len(test.test_sets()[0].folders) == 3


def test_a_misspelt_value_of_the_header_is_named(night):
    with pytest.raises(ValueError, match="gian"):
        frames_with_truth(night, header_overrides={"gian": 2.0}).lazy_labelled_frames()


def test_truth_saved_for_another_version_of_its_frame_is_refused(night):
    path = night / "truth" / "b_truth.fits.fz"
    with fits.open(path, mode="update") as hdus:
        hdus["TRUTH"].header["CRINPUT"] = sha256_of(night / "b.fits")
    test = RealTest(str(night / "cache"), frames_with_truth(night), "night")
    test.prepare_data()
    (night / "b.fits").unlink()
    write_image(night / "b.fits", np.ones(SHAPE, np.float32))
    with pytest.raises(ValueError, match=r"b\.fits: the labels are of another version of this file"):
        RealTest(str(night / "cache"), frames_with_truth(night), "night").prepare_data()


def test_two_truth_planes_of_a_frame_are_refused(night):
    plane = night / "truth" / "b_truth.fits.fz"
    plane.with_name("b_truth.fits").write_bytes(plane.read_bytes())
    with pytest.raises(ValueError, match=r"b\.fits: two truth planes, b_truth\.fits and b_truth\.fits\.fz in"):
        frames_with_truth(night).lazy_labelled_frames()


@pytest.mark.parametrize("rings", [True, False])
def test_a_frame_without_a_hit_is_dilated_if_the_others_are(night, rings):
    for name in "abc":
        path = night / "truth" / f"{name}_truth.fits.fz"
        plane = fits.getdata(path, "TRUTH")
        plane[plane == (1 if name == "a" else 99)] = 0
        plane[(plane == 2) & (name == "a" or not rings)] = 0
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(plane, name="TRUTH")]).writeto(path, overwrite=True)
    test = RealTest(str(night / "cache"), frames_with_truth(night), "night")
    test.prepare_data()
    assert [load_labelled(folder).facts["dilated"] for folder in test.test_sets()[0].folders] == [rings] * 3
