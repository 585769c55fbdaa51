"""Networks that others trained, in our :class:`~cosmicgate.models.UNet`, each applied as its authors apply it.

The weights are read from the installed packages ``cosmic-conn`` (Xu et al. 2021) and ``deepcr`` (Zhang & Bloom 2020),
which are not imported, and from a folder with the four files that the paper's authors released.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cosmicgate.data.fits.frames import Frame
from cosmicgate.detectors import NEVER, Detection, Unavailable
from cosmicgate.detectors.inputs import BRIDGED, bridged, installed, packaged
from cosmicgate.detectors.network import Network
from cosmicgate.detectors.packaged.unpacking import ready
from cosmicgate.models.published import translate
from cosmicgate.tracking import tree_hash

Sky = Literal["kept", "median"]
# As in the packages. With channels_last, which is faster, torch's group norm loses digits on tiles of this size:
# probabilities move by up to 0.002.
EXACT = torch.contiguous_format


@dataclass(frozen=True)
class Published:
    """A network in the tiles of the package that published it: side by side, cut short at the edge of the frame.

    Attributes
    ----------
    network : Module
        Logits of tiles in ADU.
    identity : object
        Hash of its weights, and what is set below.
    threshold : float
        Probability from which a pixel is called hit.
    tile : int
        Side of a tile, px. Group norm sees it: it is part of the network.
    multiple : int
        Sides of a tile that is cut short become multiples of this number.
    sky : {"kept", "median"}
        Whether each tile loses its median first.
    grow : bool
        Its masks are dilated by 3x3 where the truth is.
    """

    network: nn.Module
    title: str
    trained_on: str | None
    identity: Any
    threshold: float = 0.5
    tile: int = 1024
    multiple: int = 1
    sky: Sky = "kept"
    grow: bool = False

    def detect(self, frame: Frame) -> Detection:
        """Return the logits of a frame, whose bad pixels are never called hit."""
        image, bad = bridged(frame.image, frame.bad)
        logits = package_logits(self.network, torch.from_numpy(image), self.tile, self.multiple, self.sky)
        return Detection(logits=logits.masked_fill(torch.from_numpy(bad), NEVER))


@torch.inference_mode()
def package_logits(network: nn.Module, image: Tensor, tile: int, multiple: int = 1, sky: Sky = "kept") -> Tensor:
    """Return the logits (H, W), float32, of an image (H, W) as the packages cut it into tiles.

    A tile that the edge cuts short is cut further, to sides that are multiples of ``multiple``. cosmic-conn leaves
    the last rows and columns unsearched thereby; here they get their logits from the same tile, not cut.

    Parameters
    ----------
    network : Module
        In evaluation mode, on the device to compute on.
    image : Tensor (H, W), float32
        ADU.
    tile, multiple, sky
        As in :class:`Published`.
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


def load(
    network: nn.Module,
    package: str,
    file: str,
    origin: str,
    title: str,
    trained_on: str,
    threshold: float = 0.5,
    tile: int = 1024,
    multiple: int = 1,
    sky: Sky = "kept",
    grow: bool = False,
) -> Published:
    """Return a network with the weights that an installed package brings along.

    Parameters
    ----------
    network : Module
        A :class:`~cosmicgate.models.UNet` of the form that the weights have.
    package, file : str
        Its name on PyPI, and the file in it.
    origin : {"cosmic-conn", "deepcr"}
        Whose names the weights have.
    title, trained_on, threshold, tile, multiple, sky, grow
        As in :class:`Published`.

    Raises
    ------
    Unavailable
        The package is not installed.
    ValueError
        A setting is impossible, or the file holds other weights.
    """
    if tile < 1 or multiple < 1 or tile % multiple:
        raise ValueError(f"{title}: a tile of {tile} px cannot be divided by multiple={multiple}")
    if sky not in ("kept", "median"):
        raise ValueError(f"{title}: unknown sky {sky!r}, expected 'kept' or 'median'")
    path = packaged(package, file, title)
    settings = [tile, multiple, sky, grow]
    return Published(
        network=ready(network, read_weights(path, origin), EXACT),
        title=title,
        trained_on=f"{trained_on} ({package} {installed(package, title)})",
        identity=["published", tree_hash(path), *settings, BRIDGED],
        threshold=threshold,
        tile=tile,
        multiple=multiple,
        sky=sky,
        grow=grow,
    )


def released(
    network: nn.Module,
    weights: str | None,
    file: str,
    title: str,
    trained_on: str,
    threshold: float = 0.5,
    tile: int = 256,
    halo: int = 0,
) -> Network:
    """Return one of the networks that the paper's authors released.

    Parameters
    ----------
    network : Module
        A :class:`~cosmicgate.models.UNet` of the form that the weights have.
    weights, file : str
        The folder of the four files, and the file in it.
    title, trained_on, threshold, tile, halo
        As in :class:`~cosmicgate.detectors.network.Network`.

    Raises
    ------
    Unavailable
        No folder is given, or the file is not in it.
    ValueError
        The file holds other weights.
    """
    if weights is None:
        raise Unavailable(f"{title}: give weights=DIR, the folder of the files that the paper's authors released")
    path = Path(weights).expanduser() / file
    if not path.is_file():
        raise Unavailable(f"{title}: no file {file!r} in {weights!r}; give weights=DIR, the folder that has it")
    identity = ["released", tree_hash(path), tile, halo, BRIDGED]
    return Network(ready(network, read_weights(path, "paper")), title, trained_on, identity, threshold, tile, halo)


def read_weights(path: Path, origin: str) -> dict[str, Tensor]:
    """Read published weights, tensors only so that no code in them can run, under our names."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: zip, pickle, runtime
        raise ValueError(f"{path}: not a readable file of weights ({error.__class__.__name__})") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: expected named tensors, got a {type(state).__name__}")
    return translate(state, origin)
