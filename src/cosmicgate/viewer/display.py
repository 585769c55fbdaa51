"""Choose how an image is displayed, and describe the network to the page."""

from typing import Any

import numpy as np
from astropy.stats import mad_std
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray

from cosmicgate.pretrained.card import ModelCard

MAX_SAMPLE = 1_000_000  # pixels by which the limits of a display are chosen
DISPLAY_UNSEARCHED, DISPLAY_UNKNOWN = 1, 2  # codes in the plane, sent to the page, of pixels outside the mask


def limits_of(image: NDArray[np.float32]) -> dict[str, Any]:
    """Choose the limits of the display by zscale and by percentiles; measure median and noise, in the image's unit."""
    step = max(int(np.sqrt(image.size / MAX_SAMPLE)), 1)
    sample = image[::step, ::step]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    if not sample.size:
        return {"zscale": [0.0, 1.0], "range": [0.0, 1.0], "sky": 0.0, "noise": 1.0}
    sky = float(np.median(sample))
    noise = float(mad_std(sample)) or float(sample.std()) or 1.0
    low, high = (float(value) for value in ZScaleInterval().get_limits(sample))
    first, last = (float(value) for value in np.percentile(sample, (0.1, 99.9)))
    zscale, whole = [low, high if high > low else low + noise], [first, max(last, first + noise)]
    return {"zscale": zscale, "range": whole, "sky": sky, "noise": noise}


def model_json(card: ModelCard) -> dict[str, Any]:
    """Describe a network by values that JSON can hold: its name, threshold and calibration."""
    return {"name": card.name, "threshold": card.threshold, "calibration": card.calibration}
