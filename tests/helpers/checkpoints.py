"""Write checkpoints of the tiny network, valid and faulty ones."""

import torch

from helpers.tiny_model import NETWORK, tiny_network


def write_checkpoint(path, without="", **model):
    """Write a checkpoint of a run with the tiny network; return its path."""
    state = {f"network.{name}": value for name, value in tiny_network().state_dict().items()}
    config = {"model": {"_target_": "cosmicgate.models.UNet"} | NETWORK | model, "title": "T", "trained_on": "x"}
    config |= {"seed": 0, "threshold": 0.4}
    config.pop(without, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "config": config}, path)
    return path


FAULTY_CHECKPOINTS = {  # fault: (arguments of write_checkpoint, part of the error message)
    "module that does not exist": (
        dict(_target_="nowhere.Plain"),
        "classes of cosmicgate alone, found nowhere.Plain; if",
    ),
    "class that does not exist": (
        dict(_target_="cosmicgate.models.Unet"),
        "cannot be made: expected a class, cosmicgate.models.Unet is none",
    ),
    "unknown argument": (dict(colour="red"), "unexpected keyword argument 'colour'"),
    "weights of another shape": (
        dict(channels=8),
        "its weights do not fit its network: Error(s) in loading state_dict for UNet: size",
    ),
    "no title": (dict(without="title"), "its configuration has no title: it is not a checkpoint of train.py"),
    "no threshold": (dict(without="threshold"), "its configuration has no threshold"),
}
