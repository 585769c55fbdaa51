"""Define the protocol of frame sources, and the origins of data."""

from typing import Literal, Protocol

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.splits import Split

DataOrigin = Literal["simulated", "semi-real", "real"]


class FrameSource(Protocol):
    """Source of science frames or of darks. A frame, and everything it is made from, belongs to one split only."""

    @property
    def data_origin(self) -> DataOrigin:
        """Data origin of the pixels."""

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List a lazy frame for each frame of ``split``; their names are unique over all splits."""
