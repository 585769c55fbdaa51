"""The DECam data module: contaminated frames cached on disk, patches for training and whole frames for testing."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.config import ConfigError, build
from cosmicgate.data.background import dilate
from cosmicgate.data.cache import LazyFrame, cached_frame, digest, pixels_sha256, save_labelled
from cosmicgate.data.contamination import Contamination, PaperRecipe, with_ring
from cosmicgate.data.patches import GridSampler, PatchDataModule, PatchDataset, PatchSampler
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.sources.base import DataOrigin, FrameSource
from cosmicgate.data.splits import SPLITS, Split
from cosmicgate.data.transforms import SkyAugmentation, Transform
from cosmicgate.extras import extra
from cosmicgate.io.atomic import remove_stale_temp_files
from cosmicgate.io.messages import with_progress

with extra("train"):
    import pytorch_lightning as pl

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestSet:
    """Labelled frames that are scored together, apart from every other test set.

    A row of a network that was trained on real frames of one of its ``cameras`` says so. Frames of one field share
    their sky and are resampled together for intervals.
    """

    __test__ = False  # keeps pytest from collecting this class

    name: str
    data_origin: DataOrigin
    folders: tuple[Path, ...]
    benchmark: str = ""  # published data set with the same camera and recipe; empty for a user's own files
    cameras: tuple[str, ...] = ()  # of real frames with truth planes, by their headers; empty for others
    fields: tuple[str, ...] = ()  # name of the field of each frame; empty if the facts of the frames have them


def check_unique_names(test_sets: Sequence[TestSet]) -> list[TestSet]:
    """Raise ValueError if two test sets have the same name: their table rows and figures would look the same."""
    repeated = [name for name, number in Counter(test_set.name for test_set in test_sets).items() if number > 1]
    if repeated:
        raise ValueError(f"two test sets are called {repeated[0]!r}: give one part of the data another name")
    return list(test_sets)


@dataclass(frozen=True)
class Pair:
    """A science frame, the dark whose hits are added, how they are added, and the folder of the result."""

    science: LazyFrame
    dark: LazyFrame
    contamination: Contamination
    seed: list[int]
    folder: Path


class DecamData(PatchDataModule):
    """Science frames with the hits of dark frames added.

    Parameters
    ----------
    science, darks : FrameSource
        Sources of the frames (``conf/data/science``, ``conf/data/darks``).
    contamination : Contamination
        Recipe that adds a dark's hits to a science frame (``conf/data/contamination``). Test frames have a ring
        around each hit even if the training frames have none.
    root : str
        Cache folder; frames that are missing in it are made.
    windows : PatchSampler
        Sampler of the training patches: a grid, as in the paper, or random crops, of which a set part holds a hit.
    transforms : sequence of Transform
        Augmentations of the training patches.
    patch : int
        Side of the validation patches, pixels.
    pairs_per_frame : int
        Number of darks that each training frame is paired with; each pair makes a frame of its own.
    extra_test_sets : mapping of str to data set
        Further data sets that the network is tested on, each with ``prepare_test`` and ``test_sets``.
    batch_size : int
        Patches in a step, over all processes together.
    num_workers : int
        Number of loader workers of each process; affects nothing but speed.
    seed : int
        Seed of all random draws during training.
    pairing_seed : int
        Seed of the pairing of darks with science frames and of the read noise. It is separate from ``seed``, so that
        runs with different seeds are tested on the same frames.
    name : str
        Name of the test set in tables. If it begins with ``decam`` and the frames are of another camera, the camera's
        name is used instead.
    """

    def __init__(
        self,
        science: FrameSource,
        darks: FrameSource,
        contamination: Contamination,
        root: str,
        windows: PatchSampler,
        transforms: Sequence[Transform] = (),
        patch: int = 256,
        pairs_per_frame: int = 1,
        extra_test_sets: Mapping[str, Any] | None = None,
        batch_size: int = 16,
        num_workers: int = 1,
        seed: int = 0,
        pairing_seed: int = 0,
        name: str = "decam",
    ) -> None:
        super().__init__()
        if extra_test_sets and not isinstance(extra_test_sets, Mapping):
            found = type(extra_test_sets).__name__
            raise ValueError(f"extra_test_sets: expected names of data sets and the data sets, got a {found}")
        self.science, self.darks, self.contamination = science, darks, contamination
        self.root = Path(root).expanduser()
        self.windows, self.transforms, self.patch = windows, list(transforms), patch
        self.pairs_per_frame, self.extra_test_sets = pairs_per_frame, dict(extra_test_sets or {})
        self.pairing_seed = pairing_seed
        self.batch_size, self.num_workers, self.seed, self._name = batch_size, num_workers, seed, name

    @cached_property
    def name(self) -> str:  # type: ignore[override]  # Lightning's is not used
        """Name of the test set in tables."""
        camera = getattr(self.science, "camera", "")
        return self._name if camera == "decam" or not self._name.startswith("decam") else camera or "camera"

    @property
    def benchmark(self) -> str:
        """``decam`` for real DECam frames with hits of real DECam darks, added by the published recipe; else empty."""
        sources = (self.science, self.darks)
        theirs = all(getattr(source, "benchmark", "") == "decam" for source in sources)
        return "decam" if theirs and isinstance(self.contamination, PaperRecipe) else ""

    @property
    def data_origin(self) -> DataOrigin:
        """Data origin: simulated if either source is; real sky combined with real hits is semi-real."""
        parts = {self.science.data_origin, self.darks.data_origin}
        return "simulated" if "simulated" in parts else "semi-real"

    def pairs(self, which: Split) -> list[Pair]:
        """Pair each science frame of a split with darks of the same split."""
        science, darks = self.science.lazy_frames(which), self.darks.lazy_frames(which)
        if science and not darks:
            raise ValueError(f"{len(science)} science frame(s) but no dark in the {which!r} split")
        times = self.pairs_per_frame if which == "train" else 1
        rng = random_stream("pairs", self.pairing_seed, SPLITS.index(which))
        wanted = len(science) * times
        order = [int(dark) for _ in range(0, wanted, max(1, len(darks))) for dark in rng.permutation(len(darks))]
        seeds = [[self.pairing_seed, SPLITS.index(which), number] for number in range(wanted)]
        recipe = with_ring(self.contamination) if which == "test" else self.contamination
        return [self._pair(science[i % len(science)], darks[order[i]], recipe, seed) for i, seed in enumerate(seeds)]

    def _pair(self, science: LazyFrame, dark: LazyFrame, recipe: Contamination, seed: list[int]) -> Pair:
        key = digest([science.cache_key_parts, dark.cache_key_parts, recipe, seed])
        return Pair(science, dark, recipe, seed, self.root / "contaminated" / f"{science.name}-{key}")

    def prepare_data(self) -> None:
        """Make the frames of all splits that are missing on disk; resume after an interruption."""
        self._prepare(SPLITS)

    def prepare_test(self) -> None:
        """Make the missing test frames alone: an evaluation reads no others."""
        self._prepare(("test",))

    def _prepare(self, splits: Sequence[Split]) -> None:
        remove_stale_temp_files(self.root / "frames", self.root / "contaminated")
        missing = [(which, p) for which in splits for p in self.pairs(which) if not p.folder.is_dir()]
        for which, pair in with_progress(missing, self.name, "made"):
            self._contaminate(pair, test=which == "test")
        for data in self.extra_test_sets.values():
            data.prepare_test()

    def _contaminate(self, pair: Pair, test: bool) -> None:
        frames = self.root / "frames"
        science, dark = cached_frame(pair.science, frames), cached_frame(pair.dark, frames)
        sky = pixels_sha256(science.image)
        image, truth = pair.contamination(science, dark, random_stream("contamination", *pair.seed))
        if test:
            _expect_ring(truth, pair)
        facts = {
            "name": pair.science.name,
            "sky_sha256": sky,
            "dark": pair.dark.name,
            "dark_exptime": dark.exptime,
            "contamination": type(pair.contamination).__name__,
            "settings": _settings(pair.contamination),
            "dilated": getattr(pair.contamination, "ring", True),
        }
        save_labelled(image, truth, facts, pair.folder)

    def setup(self, stage: str | None = None) -> None:
        """Open the training and validation frames."""
        if stage not in (None, "fit", "validate"):
            return
        self.train = PatchDataset(self.split("train"), self.windows, self.transforms, self.seed)
        self._check_sky()
        self.validation = PatchDataset(self.split("validation"), GridSampler(self.patch), (), self.seed)

    def _check_sky(self) -> None:
        """Warn of training frames without a sky level, which sky augmentation cannot change."""
        if not any(isinstance(transform, SkyAugmentation) for transform in self.transforms):
            return
        without = [frame.facts["name"] for frame in self.train.frames if not SkyAugmentation.has_sky(frame.image)]
        if without:
            log.warning(
                "%s: SkyAugmentation changes nothing in %d of %d training frames, whose sky has been subtracted "
                "(their median is below their noise): %s",
                *(self.name, len(without), len(self.train.frames), ", ".join(map(str, without[:3]))),
            )

    def split(self, which: Split) -> list[Path]:
        """List the folders of a split's labelled frames."""
        folders = [pair.folder for pair in self.pairs(which)]
        if not folders:
            raise ValueError(f"no frame in the {which!r} split: give it at least one science frame and one dark")
        return folders

    def folders(self) -> list[Path]:
        """List the folders of the labelled frames of all splits."""
        return [pair.folder for which in SPLITS for pair in self.pairs(which)]

    def test_sets(self) -> list[TestSet]:
        """List the test sets that are scored after training."""
        fields = tuple(pair.science.field or pair.science.name for pair in self.pairs("test"))
        own = TestSet(self.name, self.data_origin, tuple(self.split("test")), self.benchmark, fields=fields)
        return check_unique_names(
            [own, *(test_set for data in self.extra_test_sets.values() for test_set in data.test_sets())]
        )


def training_data(node: Any, scaling: str = "none") -> pl.LightningDataModule:
    """Build a data set to train on.

    Parameters
    ----------
    node : mapping
        The configuration's ``data`` node.
    scaling : str
        The network's input scaling (``model.scaling``). With "robust", sky augmentation has no effect: a warning is
        logged.

    Raises
    ------
    ConfigError
        If the data set is for tests alone.
    """
    data = build(node)
    if not isinstance(data, pl.LightningDataModule):
        raise ConfigError(
            f"data: {data_name(data, node)} is a test set, nothing trains on it; "
            "train on another data set, for example data=decam"
        )
    if scaling == "robust" and SkyAugmentation.__name__ in str(node):
        log.warning(
            "data: SkyAugmentation changes nothing for a network with model.scaling=robust, which subtracts each "
            "patch's median; leave it out of the transforms"
        )
    return data


def data_name(data: Any, node: Mapping[str, Any]) -> str:
    """Look up the name of a data set: its own, that in its node, or that of its class."""
    return str(getattr(data, "name", None) or node.get("name") or type(data).__name__)


def _expect_ring(truth: NDArray[np.uint8], pair: Pair) -> None:
    """Raise ValueError if sky touches the core of a hit in a test frame's truth (H, W)."""
    if bare := int((dilate(truth == CORE) & (truth == SKY)).sum()):
        raise ValueError(
            f"{pair.science.name}: {bare} pixels beside the core of a hit are sky in the truth that "
            f"{type(pair.contamination).__name__} made, expected a ring there: a test frame needs one"
        )


def _settings(contamination: Any) -> Any:
    try:
        return asdict(contamination)
    except TypeError:
        return repr(contamination)
