"""Test that the truth of every test set has a ring around each hit, so that wide masks are not punished there."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.config import build
from cosmicgate.data.background import dilate
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe, RandomRecipe, with_ring
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.pixel_labels import CORE, RING, SKY
from cosmicgate.data.sources.random_cameras import RandomDarks, RandomScience
from cosmicgate.detectors import Detection
from cosmicgate.evaluation.frame_results import score_frame
from cosmicgate.evaluation.scores import score
from helpers.fits_files import write_cutout
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

DATA = sorted(path.stem for path in (ROOT / "conf" / "data").glob("[!_]*.yaml"))
SMALL = ("science.frames={test: 1}", "science.shape=[256, 256]", "darks.frames={test: 1}", "darks.shape=[256, 256]")
REAL = ("science.frames={test: 1}", "science.bands=[g]", "darks.frames={test: 1}", "darks.shape=[300, 300]")
LCO = ("folder={lco}", "root={root}")
PLANES = (
    *("frames.files=${real}/frame.fits", "frames.truth=null", "frames.darks=null", "frames.biases=null"),
    "frames.field_keywords=[]",
)
LCO_SIMULATED = ("archive.shape=[96, 96]", "archive.rate=300", "archive.sequences={0m4: 1}")


def part_overrides(parts: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Prefix the overrides of each part of a mixture with its name."""
    return tuple(f"parts.{part}.{one}" for part, own in parts.items() for one in (*own, "root={root}"))


# Overrides that make each choice of conf/data small enough for a test; each choice needs a line.
TINY = {
    "decam": (*SMALL, "science.bands=[g]", "root={root}"),
    **dict.fromkeys(("cameras", "camera_effects", "small_cameras", "spectra"), (*SMALL, "root={root}")),
    "decam_semireal": (
        *REAL,
        "darks.rate=50",
        "extra_test_sets.cutouts.frames.ignored=null",
        "extra_test_sets.cutouts.root={root}",
        "root={root}",
    ),
    "lco": LCO,
    "lco_simulated": (*LCO_SIMULATED, "root={root}"),
    "mixture": (
        *part_overrides(
            {
                **dict.fromkeys(("cameras", "trailed_defocused", "undersampled", "effects", "small", "spectra"), SMALL),
                **dict.fromkeys(("decam", "paper"), (*SMALL, "science.bands=[g]")),
                "semireal": (*REAL, "darks.rate=50"),
            }
        ),
        "leave_out=[lco0m4,arcsat]",  # their rings: test_labelled_exposures.py
    ),
    "paper_tests": (
        *(f"parts.decam.{one}" for one in (*SMALL, "science.bands=[g]", "root={root}")),
        *(f"parts.lco.simulated.{one}" for one in (*LCO_SIMULATED, "root={root}")),
        "parts.lco.fetched=null",
    ),
    **dict.fromkeys(
        ("adapted_arcsat", "adapted_lco0m4", "real_arcsat", "real_frames", "real_lco0m4", "real_m13"),
        (*PLANES, "root={root}"),
    ),
    "real_sets": part_overrides(dict.fromkeys(("arcsat", "lco0m4", "m13"), PLANES)),
    "real_cutouts": ("frames.ignored=null", "root={root}"),
    "real_sky": (
        "frames.exposures.ignored=null",
        "frames.injections_per_exposure=1",
        "frames.density=2000",
        "root={root}",
    ),
    "real_sky_lco": (
        *(
            "frames.exposures.files=${real}/decam/cutouts/*.fits",
            "frames.exposures.ignored=null",
            "frames.injections_per_exposure=1",
        ),
        *("frames.density=2000", "root={root}"),
    ),
    "held_out": part_overrides({"cameras": SMALL, "decam": (*SMALL, "science.bands=[g]")}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a small coadd, table of hits, cutout and frame under the names of the real files; return their folder."""
    home = tmp_path_factory.mktemp("real")
    (home / "decam" / "cutouts").mkdir(parents=True)
    (home / "cr").mkdir()
    image = np.random.default_rng(0).normal(0, 1, (256, 600)).astype(np.float32)
    coadd = fits.ImageHDU(image, fits.Header({"SATURATE": 1e6}))
    fits.HDUList([fits.PrimaryHDU(), coadd]).writeto(home / "decam" / "des_coadd_g.fits.fz")
    columns = [fits.Column(name, "J", array=np.arange(40)) for name in ("fp_id", "x0", "y0")]
    columns += [fits.Column("pixel_values", "4J", array=np.full((40, 4), 5000))]
    fits.BinTableHDU.from_columns(columns).writeto(home / "cr" / "itl_cosmic_rays.fits.gz")
    flags = np.zeros((40, 40), np.int32)
    flags[20, 10:15] = 5
    write_cutout(home / "decam" / "cutouts" / "a.fits", flags)
    header = fits.Header({"GAIN": 2.0, "RDNOISE": 6.0, "SATURATE": 5e4, "EXPTIME": 60.0, "FILTER": "g"})
    truth = np.zeros(image.shape, np.uint8)
    truth[9:12, 9:12], truth[10, 10] = 2, 1  # the codes of a truth plane: ring, core
    planes = [fits.ImageHDU(image, header, name="SCI"), fits.ImageHDU(truth, name="TRUTH")]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(home / "frame.fits")
    return home


def assert_rings(folders) -> None:
    """Check that some of the frames have hits, and that no sky pixel touches a core pixel."""
    truths = [np.asarray(load_labelled(folder).truth) for folder in folders]
    assert any((truth == CORE).any() for truth in truths), "no frame has a hit"
    for folder, truth in zip(folders, truths, strict=True):
        core = truth == CORE
        assert not (dilate(core) & (truth == SKY)).any(), folder
        assert (truth == RING).any() >= core.any(), folder
        assert load_labelled(folder).facts.get("dilated", True), "the record says that the truth is dilated"


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_every_data_config_is_tested_on_a_truth_with_a_ring(name, files, lco_archive, tmp_path):
    assert name in TINY, f"conf/data/{name}.yaml is new: add it to TINY"
    overrides = [
        "data." + one.replace("{lco}", str(lco_archive)).replace("{root}", str(tmp_path)) for one in TINY[name]
    ]
    cfg = composed_config(f"data={name}", f"real={files}", *overrides, name="evaluate")
    data = build(cfg.data)
    data.prepare_test()
    for test_set in data.test_sets():
        assert_rings(test_set.folders)


def camera_data(contamination, root) -> DecamData:
    frames = {"train": 1, "validation": 1, "test": 1}
    sources = (RandomScience(frames, (256, 256)), RandomDarks(frames, (256, 256)))
    return DecamData(*sources, contamination, str(root), GridSampler(64))


THIN = PhysicalRecipe(ring=False, clean=None)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [THIN, PaperRecipe(ring=False, clean=None), RandomRecipe(THIN, THIN)])
def test_a_recipe_without_a_ring_is_tested_with_one_on_the_same_pixels(recipe, tmp_path):
    thin, wide = camera_data(recipe, tmp_path), camera_data(with_ring(recipe), tmp_path)
    for data in (thin, wide):
        data.prepare_data()
    assert_rings(thin.split("test"))
    assert thin.split("test") == wide.split("test"), "the cached test frames are the same"
    for which in ("train", "validation"):
        ours, theirs = (load_labelled(data.split(which)[0]) for data in (thin, wide))
        truth, ringed = np.asarray(ours.truth), np.asarray(theirs.truth)
        assert (truth != RING).all()
        np.testing.assert_array_equal(truth == CORE, ringed == CORE)
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert (ours.facts["dilated"], theirs.facts["dilated"]) == (False, True)


@dataclass(frozen=True)
class OwnRecipe:
    """Contaminate frames by a user's own recipe, which writes no rings."""

    def __call__(self, science, dark, rng):
        return replace(THIN)(science, dark, rng)


def test_a_recipe_without_rings_is_refused_for_a_test(tmp_path):
    data = camera_data(OwnRecipe(), tmp_path)
    with pytest.raises(
        ValueError, match=r"test-.*: \d+ pixels beside the core .* that OwnRecipe made, expected a ring there"
    ):
        data.prepare_test()
    assert not any((tmp_path / "contaminated").glob("test-*"))


@dataclass(frozen=True)
class Oracle:
    """Give a fixed mask."""

    mask: np.ndarray
    model, trained_on, threshold, dilate_masks, cache_key = "oracle", None, 3.0, False, "oracle"

    def detect(self, frame):
        return Detection(masks={3.0: self.mask})


def test_thin_and_wide_masks_score_the_same_on_the_core_and_differ_by_the_ring(tmp_path):
    data = camera_data(THIN, tmp_path)
    data.prepare_test()
    labelled = load_labelled(data.split("test")[0])
    core = np.asarray(labelled.truth) == CORE
    thin, wide = (score([score_frame(Oracle(mask), labelled)[0]]).content for mask in (core, dilate(core)))
    for one in (thin, wide):
        assert one["core"]["f1"] == 1
        assert (one["per_hit"]["recall"], one["per_hit"]["false_per_megapixel"]) == (1, 0)
    assert wide["dilated"]["f1"] == 1
    assert thin["dilated"]["f1"] < 0.8
