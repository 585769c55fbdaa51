"""CosmicGate: cosmic-ray hits in astronomical CCD images, found by attention-gated U-Nets."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Masker", "clean", "load"]

if TYPE_CHECKING:
    from cosmicgate.inpainting import clean
    from cosmicgate.masker import Masker, load


def __getattr__(name: str) -> Any:
    """Import what astronomers use when it is asked for: torch takes seconds that ``import cosmicgate`` does not."""
    if name in ("Masker", "load"):
        from cosmicgate import masker

        return getattr(masker, name)
    if name == "clean":
        from cosmicgate.inpainting import clean

        return clean
    raise AttributeError(f"module 'cosmicgate' has no attribute {name!r}")
