"""Published networks of other authors, loaded into :class:`~cosmicgate.models.UNet` and applied as their authors do.

The weights are read from the installed packages ``cosmic-conn`` (Xu et al. 2021) and ``deepcr`` (Zhang & Bloom 2020),
without importing them, and from a folder with the four files that the paper's authors released.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from cosmicgate.detectors.base import MissingDependency
from cosmicgate.detectors.network import INTERPOLATED, NetworkDetector
from cosmicgate.detectors.optional_packages import installed_version, package_file
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.atomic import tree_hash
from cosmicgate.models.weight_conversion import translate
from cosmicgate.pretrained.registry import prepare_for_inference

Sky = Literal["kept", "median"]
# The memory format of the packages. channels_last is faster, but torch's group norm then loses precision on tiles of
# this size: probabilities change by up to 0.002.
MEMORY_FORMAT = torch.contiguous_format


@torch.inference_mode()
def package_logits(network: nn.Module, image: Tensor, tile: int, multiple: int = 1, sky: Sky = "kept") -> Tensor:
    """Compute the logits (H, W), float32, of an image (H, W) in tiles, as the packages do.

    Tiles lie side by side. A tile at the frame's edge is cut to sides that are multiples of ``multiple``. cosmic-conn
    thus leaves the last rows and columns unsearched; here they get the logits of the same tile before it is cut.

    Parameters
    ----------
    network : Module
        Network in evaluation mode, on the device to compute on.
    image : Tensor (H, W), float32, ADU
        Frame to search.
    tile : int
        Side of a tile, px. The statistics of group norm, and so the logits, depend on it.
    multiple : int
        Number that the sides of a tile are cut to a multiple of at the frame's edge.
    sky : {"kept", "median"}
        Whether each tile is used as it is or its median is subtracted first.
    """
    device = next(network.parameters()).device
    logits = torch.empty(image.shape)
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            piece = image[top : top + tile, left : left + tile].to(device)
            piece = piece - piece.median() if sky == "median" else piece
            whole = rows, columns = piece.shape[0], piece.shape[1]
            cut = rows - rows % multiple, columns - columns % multiple
            for height, width in (whole, cut) if cut != whole else (whole,):
                if height and width:
                    found = network(piece[None, None, :height, :width].contiguous())
                    logits[top : top + height, left : left + width] = found[0, 0].float().cpu()
    return logits


def load_published_detector(
    network: nn.Module,
    package: str,
    file: str,
    origin: str,
    model: str,
    trained_on: str,
    threshold: float = 0.5,
    tile: int = 1024,
    multiple: int = 1,
    sky: Sky = "kept",
    dilate_masks: bool = False,
    variant: str = "",
) -> NetworkDetector:
    """Load the published weights that are part of an installed package into a network.

    Parameters
    ----------
    network : Module
        :class:`~cosmicgate.models.UNet` of the same architecture as the weights.
    package, file : str
        Name of the package on PyPI, and path of the file in it.
    origin : {"cosmic-conn", "deepcr"}
        Publication whose names the weights have.
    model, trained_on, threshold, dilate_masks, variant
        Attributes of :class:`~cosmicgate.detectors.network.NetworkDetector`.
    tile, multiple, sky
        Tiling, as in :func:`package_logits`.

    Raises
    ------
    MissingDependency
        The package is not installed, or has no such file.
    ValueError
        A setting is impossible, or the file holds other weights.
    """
    if tile < 1 or multiple < 1 or tile % multiple:
        raise ValueError(f"{model}: a tile of {tile} px cannot be divided by multiple={multiple}")
    if sky not in ("kept", "median"):
        raise ValueError(f"{model}: unknown sky {sky!r}, expected 'kept' or 'median'")
    path = package_file(package, file, model)
    ready = prepare_for_inference(network, read_weights(path, origin), str(path), MEMORY_FORMAT)
    return NetworkDetector(
        predictor=Predictor(ready, procedure=partial(package_logits, tile=tile, multiple=multiple, sky=sky)),
        model=model,
        trained_on=f"{trained_on} ({package} {installed_version(package, model)})",
        cache_key=["published", tree_hash(path), tile, multiple, sky, dilate_masks, INTERPOLATED],
        threshold=threshold,
        dilate_masks=dilate_masks,
        variant=variant,
    )


def load_released_detector(
    network: nn.Module,
    weights: str | None,
    file: str,
    model: str,
    trained_on: str,
    threshold: float = 0.5,
    tile: int = 256,
    halo: int = 0,
    variant: str = "",
) -> NetworkDetector:
    """Load one of the networks that the paper's authors released.

    Parameters
    ----------
    network : Module
        :class:`~cosmicgate.models.UNet` of the same architecture as the weights.
    weights, file : str
        Folder of the four files, and name of the file in it.
    model, trained_on, threshold, variant
        Attributes of :class:`~cosmicgate.detectors.network.NetworkDetector`.
    tile, halo : int
        Tile size and overlap, px, as in :class:`~cosmicgate.inference.predictor.Predictor`.

    Raises
    ------
    MissingDependency
        No folder is given, or the file is not in it.
    ValueError
        The file holds other weights.
    """
    if weights is None:
        raise MissingDependency(f"{model}: give weights=DIR, the folder of the files that the paper's authors released")
    path = Path(weights).expanduser() / file
    if not path.is_file():
        raise MissingDependency(f"{model}: no file {file!r} in {weights!r}; give weights=DIR, the folder that has it")
    cache_key = ["released", tree_hash(path), tile, halo, INTERPOLATED]
    network = prepare_for_inference(network, read_weights(path, "paper"), str(path))
    return NetworkDetector(Predictor(network, tile, halo), model, trained_on, cache_key, threshold, variant=variant)


def read_weights(path: Path, origin: str) -> dict[str, Tensor]:
    """Read published weights and rename them to the names of UNet; only tensors are read, so that no code can run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types: zip, pickle and runtime errors
        raise ValueError(f"{path}: not a readable file of weights ({error.__class__.__name__})") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: expected named tensors, got a {type(state).__name__}")
    return translate(state, origin)
