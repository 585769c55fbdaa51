"""Convert published weights to the key names of :class:`~cosmicgate.models.UNet`.

The maps are explicit and must cover every key.
"""

from collections.abc import Mapping

from torch import Tensor

# Names of Cosmic-CoNN (Xu et al. 2021). The four files that the paper's authors released have them with a prefix
# "module.".
_COSMIC_CONN = {
    "inc.conv.conv": "encoder.0",
    "down1.down_cov.1.conv": "encoder.1",
    "down2.down_cov.1.conv": "encoder.2",
    "up2.up_conv": "up.1",
    "up2.conv.conv": "decoder.1",
    "up1.up_conv": "up.0",
    "up1.conv.conv": "decoder.0",
    "outc.conv": "head",
    "up2.attention": "gates.1",
    "up1.attention": "gates.0",
}
# Names of deepCR (Zhang & Bloom 2020), whose published networks have two resolution levels.
_DEEPCR = {
    "module.inc.conv.conv": "encoder.0",
    "module.down1.mpconv.1.conv": "encoder.1",
    "module.up8.up": "up.0",
    "module.up8.conv.conv": "decoder.0",
    "module.outc.conv": "head",
}
_LAYERS = {
    "0": "conv1",
    "1": "norm1",
    "3": "conv2",
    "4": "norm2",
    "W_gate.0": "gate_conv",
    "W_gate.1": "gate_norm",
    "W_x.0": "skip_conv",
    "W_x.1": "skip_norm",
    "psi.0": "map_conv",
    "psi.1": "map_norm",
}
PREFIXES: dict[str, dict[str, str]] = {
    "cosmic-conn": _COSMIC_CONN,
    "paper": {f"module.{theirs}": ours for theirs, ours in _COSMIC_CONN.items()},
    "deepcr": _DEEPCR,
}


def translate(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Rename the entries of a published state dict to the names of :class:`~cosmicgate.models.UNet`.

    Parameters
    ----------
    state : mapping of str to Tensor
        State dict as read by ``torch.load(..., weights_only=True)``.
    origin : {"cosmic-conn", "paper", "deepcr"}
        Publication whose names the entries have.

    Raises
    ------
    ValueError
        The origin is unknown, or a key is not in its map, so the weights belong to another network.
    """
    if origin not in PREFIXES:
        raise ValueError(f"unknown origin of weights {origin!r}: expected one of {', '.join(PREFIXES)}")
    return {_rename(key, PREFIXES[origin], origin): value for key, value in state.items()}


def _rename(key: str, prefixes: dict[str, str], origin: str) -> str:
    for theirs, ours in prefixes.items():
        if key.startswith(theirs + "."):
            layer, _, parameter = key[len(theirs) + 1 :].rpartition(".")
            if not layer:
                return f"{ours}.{parameter}"
            if layer in _LAYERS:
                return f"{ours}.{_LAYERS[layer]}.{parameter}"
    raise ValueError(f"{key!r} is not a name that {origin!r} weights have")
