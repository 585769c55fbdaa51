"""Test simulated exposures of one field: the same stars, different hits, marked as simulated in every file."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from cosmicgate.data.labelling.multi_exposure import read_exposure
from cosmicgate.data.lco.io import IGNORE_SOURCE, SIMULATED, read_sequence
from cosmicgate.data.lco.simulated_archive import simulated_archive, simulated_exposures
from cosmicgate.data.lco.simulation import TELESCOPES, lco_band, simulate_triple
from cosmicgate.data.simulation.ccd import CCDS

CLASSES = list(TELESCOPES)


@pytest.fixture(scope="module")
def triple():
    return simulate_triple("1m0", [6], (200, 240), rate=30)


def test_exposures_of_a_field_have_the_same_stars_and_different_hits(triple):
    lights = [e.light for e in triple.exposures]
    for other in (1, 2):
        # The shift in whole pixels that matches the stars best is within a pixel of that of the WCS.
        first, second = (triple.exposures[k].exposure.header for k in (0, other))
        wcs_shift = [second[f"CRPIX{axis}"] - first[f"CRPIX{axis}"] for axis in (2, 1)]
        spectrum = np.conj(np.fft.fft2(lights[0])) * np.fft.fft2(lights[other])
        peak = np.unravel_index(np.fft.ifft2(spectrum).real.argmax(), lights[0].shape)
        found = [(p + n // 2) % n - n // 2 for p, n in zip(peak, lights[0].shape, strict=True)]
        assert np.abs(np.subtract(found, wcs_shift)).max() < 1.2
        assert not (triple.exposures[0].core & triple.exposures[other].core).sum() > 1
    assert all(e.core.sum() > 8 for e in triple.exposures)


def test_the_recorded_noise_is_that_of_the_pixels(triple):
    for e in triple.exposures:
        frame, empty = e.exposure.frame, (e.charge == 0) & (e.light < 0.1 * e.noise)
        assert frame.gain == 1
        assert frame.image[empty].std() == pytest.approx(np.median(e.noise[empty]), rel=0.03)


def test_seeing_and_sky_differ_between_exposures(triple):
    assert len({round(float(np.mean(e.exposure.frame.image))) for e in triple.exposures}) == 3
    assert len({round(float(e.light.max()), 1) for e in triple.exposures}) == 3


@pytest.mark.parametrize("telescope", CLASSES)
def test_most_hits_have_one_or_two_pixels(telescope):
    # A rate far above the natural one, on a small CCD, where hits still hardly overlap.
    sizes = []
    for e in simulate_triple(
        telescope, [7], (256, 256), frames=2, rate={"0m4": 900, "1m0": 300, "2m0": 80}[telescope]
    ).exposures:
        labels, _ = ndimage.label(e.core, np.ones((3, 3)))
        sizes += np.bincount(labels.ravel())[1:].tolist()
    assert len(sizes) > 150
    assert 0.5 <= np.mean(np.array(sizes) <= 2) <= 0.9


@pytest.mark.parametrize("telescope", CLASSES)
def test_telescope_classes_have_the_ccds_and_seeing_of_the_observatory(telescope):
    ccd = CCDS[telescope]
    assert (ccd.shape, ccd.pixel_scale) == {
        "0m4": ((2048, 3072), 0.571),
        "1m0": ((4096, 4096), 0.389),
        "2m0": ((2048, 2048), 0.304),
    }[telescope]
    assert 5 < ccd.thickness < 20
    assert lco_band(telescope, "r").seeing == {"0m4": 2.07, "1m0": 2.04, "2m0": 1.44}[telescope]


def test_larger_telescopes_collect_more_light():
    bands = [lco_band(telescope, "r") for telescope in CLASSES]
    assert [b.zero_point for b in bands] == sorted(b.zero_point for b in bands)
    assert bands[2].sky[0] / bands[0].sky[0] == pytest.approx(25)


def test_a_seed_determines_every_pixel(triple):
    again, other = (simulate_triple("1m0", [seed], (200, 240), rate=30) for seed in (6, 4))
    images = [[e.exposure.frame.image for e in t.exposures] for t in (triple, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(images[0], images[1], strict=True))
    assert not np.array_equal(images[0][0], images[2][0])


def test_the_true_masks_ignore_edges_and_sources_as_the_data_set_does(triple):
    masked = triple.masked()
    for e, hits, ignore in zip(triple.exposures, masked.hits, masked.ignore, strict=True):
        assert np.array_equal(hits, e.core & (ignore == 0))
        assert (ignore[:10] & 1).all()
        assert (ignore[e.light > 3 * e.noise] & IGNORE_SOURCE).all()
        assert 0.001 < np.mean((ignore & IGNORE_SOURCE) > 0) < 0.4


def test_a_simulated_archive_is_marked_as_such_and_written_once(tmp_path):
    settings = dict(sequences={"0m4": 1, "2m0": 1}, shape=(64, 64), frames=4, rate=50)
    home = simulated_archive(str(tmp_path), **settings)
    files = sorted((home / "test_set" / "masked_fits").iterdir())
    assert [f.name for f in files] == [
        "coj0m403-kb24-20190101-0001-e91_4frms_masks.fits",
        "coj2m002-fs01-20190101-0001-e91_4frms_masks.fits",
    ]
    times = [f.stat().st_mtime_ns for f in files]
    for file in files:
        assert read_sequence(file).data_origin == "simulated"
        with fits.open(file) as hdus:
            assert all(hdus[k].header[SIMULATED] is True for k in range(5))
    assert simulated_archive(str(tmp_path), **settings) == home
    assert [f.stat().st_mtime_ns for f in files] == times
    assert simulated_archive(str(tmp_path), **(settings | {"sequences": {}, "seed": 1})) != home


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("4m0", [0]), "unknown class of telescopes '4m0': expected one of 0m4, 1m0, 2m0"),
        (("1m0", [0], (64, 64), 0), "frames=0, rate=1.0: expected at least one frame"),
        (("1m0", [0], (64, 64), 3, -1.0), "rate=-1.0: expected at least one frame and a rate of zero or more"),
    ],
)
def test_invalid_settings_of_a_field_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        simulate_triple(*arguments)


def test_simulated_exposures_are_files_that_are_compared_and_that_stay(tmp_path):
    settings = dict(fields=2, shape=(128, 144), rate=50)
    paths = simulated_exposures(tmp_path, **settings)
    assert len(set(paths)) == 6
    exposures = [read_exposure(path) for path in paths]
    assert all(exposure.simulated and exposure.frame.image.shape == (128, 144) for exposure in exposures)
    pointings = [(one.header["CRVAL1"], one.header["CRVAL2"]) for one in exposures]
    assert len(set(pointings)) == 2
    assert pointings[0] == pointings[2] != pointings[3]
    times = [path.stat().st_mtime_ns for path in paths]
    assert simulated_exposures(tmp_path, **settings) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times
    assert not set(simulated_exposures(tmp_path, **(settings | {"fields": 1, "seed": 1}))) & set(paths)
    with pytest.raises(ValueError, match="fields=29"):
        simulated_exposures(tmp_path, 29)
