"""Load weights into a network, with the same checks whatever file they come from."""

import hashlib
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn


def load_weights(network: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load weights into a network and check them (:func:`check_weights`).

    Parameters
    ----------
    network : Module
        Network of the same architecture as the weights.
    weights : mapping of str to Tensor
        All parameters and buffers of the network, and no others.
    source : str
        File of the weights, for error messages.

    Raises
    ------
    ValueError
        Names or shapes are those of another network, or a value is NaN, infinite or a negative variance.
    """
    try:
        network.load_state_dict(weights, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:  # raised by torch for wrong shapes and non-tensors
        raise ValueError(f"{source}: its weights do not fit its network: {shorten(str(error), 300)}") from error
    check_weights(network.state_dict(), source)


def check_weights(weights: Mapping[str, Any], source: str) -> None:
    """Raise ValueError for weights that would make logits NaN: NaN is above no threshold, so every mask would be empty.

    Raises
    ------
    ValueError
        A value is NaN, infinite or complex, or a running variance is negative; the message names the first such tensor.
    """
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            continue
        if value.is_complex():
            raise ValueError(f"{source}: its weights {name!r} are complex numbers, expected real ones")
        wrong = int((~torch.isfinite(value.float())).sum()) if value.is_floating_point() else 0
        if wrong:
            raise ValueError(f"{source}: {wrong} of the {value.numel()} weights in {name!r} are NaN or infinite")
        if name.rpartition(".")[2] == "running_var" and bool((value < 0).any()):
            raise ValueError(f"{source}: its weights {name!r} are variances, and {value.min():.3g} is negative")


def weights_sha256(weights: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of all tensors with their names, dtypes and shapes; other values are left out."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name]
        if isinstance(value, Tensor):
            total.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            flat = value.detach().cpu().contiguous().flatten()
            total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()
