"""CosmicGate: cosmic-ray hits in astronomical CCD images, found by attention-gated U-Nets."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.3"
__all__ = ["Masker", "clean", "load"]
MODULES = {"Masker": "masking.masker", "clean": "masking.inpainting", "load": "masking.loading"}

if TYPE_CHECKING:
    from cosmicgate.masking.inpainting import clean
    from cosmicgate.masking.loading import load
    from cosmicgate.masking.masker import Masker


def __getattr__(name: str) -> Any:
    """Import what astronomers use when it is asked for: torch takes seconds that ``import cosmicgate`` does not."""
    if name in MODULES:
        return getattr(import_module(f"cosmicgate.{MODULES[name]}"), name)
    raise AttributeError(f"module 'cosmicgate' has no attribute {name!r}")
