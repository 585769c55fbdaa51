"""Sources of science frames, darks and hits: simulation, archives, FITS files, a coadd, a table of hits."""

from cosmicgate.data.sources.coadd import Coadd
from cosmicgate.data.sources.cutouts import FlaggedCutouts
from cosmicgate.data.sources.exposures import Exposures
from cosmicgate.data.sources.files import Files
from cosmicgate.data.sources.footprints import Footprints
from cosmicgate.data.sources.frames_with_truth import FramesWithTruth
from cosmicgate.data.sources.injection import HitInjector, InjectedHits

__all__ = [
    "Coadd",
    "Exposures",
    "Files",
    "FlaggedCutouts",
    "Footprints",
    "FramesWithTruth",
    "HitInjector",
    "InjectedHits",
]
