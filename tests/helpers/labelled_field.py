"""Write labelled exposures of a field, as `cosmicgate.data.labelling` does."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from cosmicgate.data.lco.io import Exposure, MaskedSequence, write_sequence
from helpers.simulated_frames import generator, sky_frame

SHAPE = (80, 90)


def write_labelled_field(folder: Path) -> Path:
    """Write three labelled exposures of the field "a" to a folder; the hits of exposure n have 1000 (n + 1) ADU."""
    (folder / "labels").mkdir()
    exposures, masks = [], []
    for number in range(3):
        frame = sky_frame(100.0, SHAPE, seed=number)
        hits = np.zeros(SHAPE, bool)
        for row, column in generator(number).integers(15, 65, (6, 2)):
            hits[row, column : column + 3] = True
        frame.image[hits] += 1000 * (number + 1)
        exposures.append(Exposure(frame, fits.Header()))
        masks.append(hits)
    ignore = tuple(np.zeros(SHAPE, np.uint8) for _ in masks)
    write_sequence(MaskedSequence(tuple(exposures), tuple(masks), ignore), folder / "labels" / "a_masks.fits")
    return folder
