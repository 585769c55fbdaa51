"""CosmicGate: find cosmic-ray hits in astronomical CCD images with attention-gated U-Nets."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0.dev0"
__all__ = ["CosmicRayMasker", "adapt", "clean", "cosmicray_unet", "detect_cosmics", "load", "static_pixels"]
MODULES = {
    "CosmicRayMasker": "masking.masker",
    "adapt": "adaptation",
    "clean": "masking.inpainting",
    "cosmicray_unet": "masking.drop_in",
    "detect_cosmics": "masking.drop_in",
    "load": "masking.load",
    "static_pixels": "masking.static_pixels",
}

if TYPE_CHECKING:
    from cosmicgate.adaptation import adapt
    from cosmicgate.masking.drop_in import cosmicray_unet, detect_cosmics
    from cosmicgate.masking.inpainting import clean
    from cosmicgate.masking.load import load
    from cosmicgate.masking.masker import CosmicRayMasker
    from cosmicgate.masking.static_pixels import static_pixels


def __getattr__(name: str) -> Any:
    """Import the public names on first use: importing torch takes seconds, ``import cosmicgate`` should not."""
    if name in MODULES:
        return getattr(import_module(f"cosmicgate.{MODULES[name]}"), name)
    raise AttributeError(f"module 'cosmicgate' has no attribute {name!r}")
