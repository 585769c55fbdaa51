"""Raw DECam darks: reduced (``raw``, ``defects``), judged (``darkness``) and dealt to the splits (``source``)."""

from cosmicgate.data.darks.darkness import Limits
from cosmicgate.data.darks.defects import Defects
from cosmicgate.data.darks.raw import Reduction
from cosmicgate.data.darks.source import RawDarks

__all__ = ["Defects", "Limits", "RawDarks", "Reduction"]
