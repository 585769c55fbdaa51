"""Sources of real darks: raw DECam ones (``reduction``, ``defects``, ``quality``, ``source``) and reduced ones.

``reduced`` reads darks that are already reduced. ``repeats`` compares the darks of one detector to find its defects.
"""

from cosmicgate.data.sources.raw_darks.defects import DefectFinder
from cosmicgate.data.sources.raw_darks.quality import LightLimits
from cosmicgate.data.sources.raw_darks.reduced import Darks
from cosmicgate.data.sources.raw_darks.reduction import Reduction
from cosmicgate.data.sources.raw_darks.source import RawDarks

__all__ = ["Darks", "DefectFinder", "LightLimits", "RawDarks", "Reduction"]
