"""Save frames with simulated hits, and define detectors that threshold the brightness of pixels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosmicgate.data.background import dilate
from cosmicgate.data.cache import load_labelled, save_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.detectors import Detection
from cosmicgate.io.fits.frames import Frame


def save_frame(folder: Path, number: int, shape=(160, 128), band="g", hits=12) -> Path:
    """Save a labelled frame: a sky of 100 ADU, tracks of up to 24 px, two ignored rows; return its folder."""
    rng = np.random.default_rng(number)
    image = rng.normal(100, 5, shape)
    core = np.zeros(shape, bool)
    for _ in range(hits):
        y, x, length = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(1, 25)
        core[y, x : x + length] = True
        image[y, x : x + length] += rng.lognormal(4, 1)
    truth = np.select([core, dilate(core)], [CORE, RING], SKY).astype(np.uint8)
    truth[3:5] = IGNORED
    frame = Frame(image.astype(np.float32), 4.0, 7.0, 40000.0, 90.0, band, f"f{number}")
    save_labelled(frame, truth, {"name": frame.name}, folder / f"f{number}")
    return folder / f"f{number}"


@dataclass
class BrightnessLogits:
    """Give noisy logits of the brightness; ``fail`` maps the number of a call to the error raised in it."""

    model: str = "deepCR"
    blur: float = 2.0
    trained_on: str | None = "decam, simulated"
    threshold: float = 0.5
    dilate_masks: bool = False
    fail: dict[int, BaseException] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    variant: str = ""
    seed: int | None = None

    @property
    def cache_key(self) -> Any:
        return ["brightness", self.blur]

    def detect(self, frame: Frame) -> Detection:
        self.seen.append(frame.name)
        if len(self.seen) in self.fail:
            raise self.fail[len(self.seen)]
        noise = np.random.default_rng(frame.image.size).normal(0, self.blur, frame.shape)
        return Detection(logits=torch.from_numpy(((frame.image - 125) / 5 + noise).astype(np.float32)))


@dataclass
class BrightnessMasks:
    """Give a mask of the bright pixels for each of several thresholds, ADU."""

    model: str = "LACosmic"
    trained_on: str | None = None
    threshold: float = 120.0
    cache_key: Any = "swept"
    dilate_masks: bool = False

    def detect(self, frame: Frame) -> Detection:
        return Detection(masks={at: frame.image >= at for at in (105.0, 108.0, 112.0, 116.0, 120.0, 150.0)})


def scored_pixels(test_set, detector, convention):
    """Collect, for every scored pixel of a test set, whether it is hit, and its logit."""
    truths, logits = [], []
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        frame = Frame(np.array(labelled.image), 4.0, 7.0, 40000.0, 90.0)
        kept = np.isin(labelled.truth, (SKY, CORE, RING) if convention == "dilated" else (SKY, CORE))
        truths.append(labelled.truth[kept] != SKY)
        logits.append(detector.detect(frame).logits.numpy()[kept])
    return np.concatenate(truths), np.concatenate(logits)


def make_test_set(folder: Path, frames=4, bands="g", **about) -> TestSet:
    """Save labelled frames, with the bands in turn, and return the test set of them."""
    folders = tuple(save_frame(folder, n, band=bands[n % len(bands)], **about) for n in range(frames))
    return TestSet("decam", "simulated", folders)
