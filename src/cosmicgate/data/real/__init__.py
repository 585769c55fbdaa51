"""Real sky and real hits from files: FITS images, a coadd re-exposed, a table of hit footprints, flagged cutouts."""

from cosmicgate.data.real.coadd import Coadd
from cosmicgate.data.real.cutouts import FlaggedCutouts
from cosmicgate.data.real.files import Files
from cosmicgate.data.real.footprints import Footprints

__all__ = ["Coadd", "Files", "FlaggedCutouts", "Footprints"]
