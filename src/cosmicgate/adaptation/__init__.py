"""Adapt a network to a camera: from its own exposures to a better network (``cosmicgate adapt``)."""

from cosmicgate.extras import extra

with extra("label"):  # it brings the extra "train" as well; named first, as the modules below need both
    import astroalign  # noqa: F401
    import pytorch_lightning  # noqa: F401

from cosmicgate.adaptation.run import adapt

__all__ = ["adapt"]
