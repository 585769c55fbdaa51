"""Manual labels are truth planes, come back as they were, and are never overwritten unseen."""

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.adaptation.corrections import find_corrections, read_manual_labels
from cosmicgate.cli.show import image_and_hits
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.real_tests import RealTest
from cosmicgate.data.sources import FramesWithTruth
from cosmicgate.io.atomic import sha256_of
from cosmicgate.io.fits.hdus import FitsError, open_fits
from cosmicgate.io.fits.images import science
from cosmicgate.io.fits.truth_files import is_mask_file
from cosmicgate.masking.output_paths import inputs_of
from cosmicgate.viewer.labels import HIT, MANUAL_UNKNOWN, NO_HIT, Labels, labels_path, read_labels, write_labels
from helpers.viewer import write_sky

SHAPE = (40, 30)


@pytest.fixture
def frame(tmp_path):
    return write_sky(tmp_path / "a.fits", np.random.default_rng(0).normal(500, 20, SHAPE).astype(np.float32))


@pytest.fixture
def labels():
    """A hit by hand, one of the detector, one that is none, and a row that is not known."""
    manual = np.zeros(SHAPE, np.uint8)
    manual[10, 10], manual[5, 5], manual[20] = HIT, NO_HIT, MANUAL_UNKNOWN
    hits = manual == HIT
    hits[30, 20] = True
    return Labels(hits, manual == MANUAL_UNKNOWN, manual)


def place_of(path, number=0):
    with open_fits(path) as hdus:
        return science(path, hdus)[number]


def write(path, source, labels, **options):
    return write_labels(path, source, "0" * 64, place_of(source), True, labels, **options)


def test_saved_labels_come_back(frame, labels):
    path = labels_path(frame)
    assert path.name == "a_truth.fits.fz"
    write(path, frame, labels, origin="general at 0.5")
    found = read_labels(path, place_of(frame), True)
    for key in ("hits", "unknown", "manual"):
        assert np.array_equal(getattr(found, key), getattr(labels, key)), key
    assert fits.getheader(path, "TRUTH")["CRFROM"] == "general at 0.5"


def test_evaluate_reads_them_as_truth(frame, labels, tmp_path):
    folder = tmp_path / "truth"
    write_labels(labels_path(frame, folder), frame, sha256_of(frame), place_of(frame), True, labels)
    frames = FramesWithTruth(str(tmp_path / "*.fits"), "night", truth=str(folder))
    test = RealTest(str(tmp_path / "cache"), frames, "night")
    test.prepare_data()
    truth = load_labelled(test.test_sets()[0].folders[0]).truth
    assert truth[10, 10] == truth[30, 20] == CORE
    assert truth[9, 9] == RING
    assert truth[5, 5] == SKY
    assert (truth[20] == IGNORED).all()


def test_untouched_pixels_can_be_saved_as_not_known(frame, labels):
    truth = labels.truth(only_manual=True)
    assert truth[10, 10] == CORE
    assert truth[9, 9] == RING
    assert truth[5, 5] == SKY
    assert truth[30, 20] == truth[0, 0] == truth[20, 0] == 3


def test_show_draws_the_corrected_mask(frame, labels):
    path = labels_path(frame)
    write(path, frame, labels)
    assert np.array_equal(image_and_hits(frame, path, None, [])[1], labels.hits)


def test_a_file_of_labels_is_no_input_of_mask_and_adapt(frame, labels):
    write(labels_path(frame), frame, labels)
    assert [path for path, _ in inputs_of([frame.parent])[0]] == [frame]


def test_labels_that_changed_since_they_were_read_are_not_overwritten(frame, labels):
    path = labels_path(frame)
    save_id = write(path, frame, labels)
    before = path.read_bytes()
    with pytest.raises(FitsError, match=r"a_truth\.fits\.fz was changed since its labels were read: nothing was saved"):
        write(path, frame, labels)
    assert path.read_bytes() == before
    write(path, frame, Labels(labels.hits, labels.unknown, labels.manual, save_id=save_id))
    assert path.read_bytes() != before


def write_two(folder):
    """Write a file of two images; return its path."""
    images = [fits.ImageHDU(np.random.default_rng(n).normal(500, 20, SHAPE), name=f"N{n}") for n in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "two.fits")
    return folder / "two.fits"


def test_images_of_one_file_keep_each_others_labels(tmp_path, labels):
    source = write_two(tmp_path)
    path, other = labels_path(source), Labels(labels.unknown, labels.hits, np.zeros(SHAPE, np.uint8), blind=True)
    for number, one in enumerate((labels, other)):
        write_labels(path, source, "", place_of(source, number), False, one)
    write_labels(path, source, "", place_of(source, 0), False, read_labels(path, place_of(source, 0), False))
    first, second = (read_labels(path, place_of(source, number), False) for number in (0, 1))
    assert np.array_equal(first.hits, labels.hits)
    assert np.array_equal(second.hits, other.hits)
    assert second.blind
    assert fits.info(path, output=False)[1][1] == "N2_TRUTH"


def test_labels_of_the_only_image_are_read_and_replaced_when_it_is_in_another_hdu(frame, labels):
    path, packed = labels_path(frame), frame.with_name("a.fits.fz")
    write(path, frame, labels)
    with fits.open(frame) as hdus:
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(hdus[0].data, hdus[0].header)]).writeto(packed)
    place = place_of(packed)
    found = read_labels(path, place, True)
    assert np.array_equal(found.manual, labels.manual)
    assert (place.number, found.input_sha256) == (1, "0" * 64)
    write_labels(path, packed, sha256_of(packed), place, True, found)
    assert path.with_name("a_truth_00000000.fits.fz").is_file()
    with fits.open(path) as hdus:
        assert [hdu.name.rpartition("_")[2] for hdu in hdus[1:]] == ["TRUTH", "TOUCHED", "CRMASK"]
        assert hdus["TRUTH"].header["CRINPUT"] == sha256_of(packed)
    frame.unlink()
    frames = FramesWithTruth(str(packed), "night", truth=str(packed.parent))
    assert frames.lazy_labelled_frames()[0].build()[1][10, 10] == CORE


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_saving_keeps_the_other_hdus_of_a_file_as_they_are(frame, labels, suffix):
    path, score = frame.with_name(f"a_truth.fits{suffix}"), np.random.default_rng(1).normal(size=SHAPE)
    table = fits.BinTableHDU.from_columns([fits.Column("X", "PD()", array=np.array([[1.0], [2.0, 3.0]], object))])
    empty = fits.ImageHDU(header=fits.Header({"SEEING": 1.2}))
    planes = [fits.ImageHDU(np.zeros(SHAPE, np.uint8), name="TRUTH"), fits.ImageHDU(score, name="SCORE"), table, empty]
    fits.HDUList(
        [fits.PrimaryHDU(header=fits.Header({"AUTHOR": "somebody"} | {f"KEY{n}": n for n in range(40)})), *planes]
    ).writeto(path)
    found = read_labels(path, place_of(frame), True)
    write(path, frame, Labels(labels.hits, labels.unknown, labels.manual, save_id=found.save_id))
    assert np.array_equal(read_labels(path, place_of(frame), True).hits, labels.hits)
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["SCORE", "", "", "TRUTH", "TOUCHED", "CRMASK"]
        assert np.array_equal(hdus["SCORE"].data, score)
        assert [row.tolist() for row in hdus[2].data["X"]] == [[1], [2, 3]]
        assert hdus[3].header["SEEING"] == 1.2
        assert (hdus[0].header["AUTHOR"], hdus[0].header["CRFILE"]) == ("somebody", "a.fits")
    assert is_mask_file(path) == (suffix == "")


def test_adapt_reads_the_labels_of_each_image_that_are_of_this_version_of_the_file(tmp_path, labels):
    source = write_two(tmp_path)
    path = labels_path(source)
    write_labels(path, source, sha256_of(source), place_of(source, 0), False, labels)
    assert find_corrections([str(source)], None, "N2")[0]["other_images"]
    fits.setval(source, "OBSERVER", value="somebody")
    write_labels(path, source, sha256_of(source), place_of(source, 1), False, labels)
    assert "other_images" not in find_corrections([str(source)], None, "N2")[0]
    assert np.array_equal(read_manual_labels(source, path, "N2"), labels.manual)
    with pytest.raises(ValueError, match="the labels are of another version of this file"):
        read_manual_labels(source, path, "N1")


def test_planes_by_comparison_are_read_and_labels_of_another_shape_refused(frame, tmp_path):
    path = tmp_path / "a_truth.fits.fz"
    plane = np.zeros(SHAPE, np.uint8)
    plane[3, 4], plane[7] = 1, 3
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(plane, name="TRUTH")]).writeto(path)
    found = read_labels(labels_path(frame), place_of(frame), True)
    assert np.array_equal(found.hits, plane == 1)
    assert np.array_equal(found.unknown, plane == 3)
    assert not found.manual.any()
    path.unlink()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(plane.T.copy(), name="TRUTH")]).writeto(path)
    with pytest.raises(FitsError, match=r"the labels have the shape \(30, 40\), the image \(40, 30\)"):
        read_labels(path, place_of(frame), True)
