"""What a command may be told: the top-level keys as dataclasses, and a check of every node behind them.

A misspelt key, in a file or as ``+key=``, and a value of a wrong type stop here with their name, before anything runs.
"""

import inspect
import logging
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
PLAIN = (bool, int, float, str)


class ConfigError(ValueError):
    """A configuration that cannot be meant; the message names the key."""


@dataclass
class Train:
    """Keys of ``train.py``."""

    seed: int
    data: Any
    model: Any
    module: Any
    callbacks: Any
    logger: Any
    trainer: Any
    name: str
    title: str
    real: str
    group: str | None = None
    resume: bool = True
    start: str | None = None
    threshold: float = 0.5
    tags: list[str] = field(default_factory=list)


@dataclass
class Evaluate:
    """Keys of ``evaluate.py``."""

    detector: Any
    seed: int
    real: str
    checkpoint: Any = None  # a path, a glob pattern, or a list of both
    weights: str | None = None
    data: Any = None
    compare: list[list[str]] = field(default_factory=list)
    picture: bool = True
    features: bool = False
    logger: Any = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn an error of the user's input into one sentence and exit code 1; its traceback goes to the log file.

    In a sweep the error goes on: :class:`cosmicgate.training.sweeps.KeepGoing` keeps it, and the next job runs.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, InstantiationException) as error:
        cause = cause_of(error)
        sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        if sweeping or not isinstance(cause, (ValueError, OSError, ImportError)):
            raise
        logging.getLogger(__name__).debug("traceback", exc_info=error)
        sys.exit(f"error: {cause}")


def cause_of(error: BaseException) -> BaseException:
    """Return what a config's target raised: Hydra wraps it."""
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    return error


def precision() -> str:
    """Return Lightning's name for the fastest safe precision of this machine."""
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def gpu() -> bool:
    """Say whether there is a GPU to train on."""
    return torch.cuda.is_available()


TITLES = {
    "deepcr": "deepCR",
    "att_deepcr": "Att deepCR",
    "cosmic_conn": "Cosmic-CoNN",
    "att_cosmic_conn": "Att Cosmic-CoNN",
}


def title(name: str) -> str:
    """Return the paper's name of a network."""
    return TITLES.get(name, name)


OmegaConf.register_new_resolver("model_title", title, replace=True)
OmegaConf.register_new_resolver("gpu", gpu, replace=True)
OmegaConf.register_new_resolver("auto_precision", precision, replace=True)


def checked(cfg: DictConfig, schema: type[Train] | type[Evaluate]) -> DictConfig:
    """Return ``cfg`` after a check of its keys and types.

    Raises
    ------
    ConfigError
        Names the first key that is unknown, missing or of a wrong type, and what was expected.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), cfg)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].removesuffix(".")
        known = ", ".join(schema.__dataclass_fields__)
        raise ConfigError(f"{error.full_key or 'configuration'}: {reason} (known keys: {known})") from error
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        raise ConfigError(f"{missing[0]}: needs a value")
    values: Any = OmegaConf.to_container(merged, resolve=True)
    if not 0 < values.get("threshold", 0.5) < 1:
        raise ConfigError(f"threshold: got {values['threshold']}, expected a probability between 0 and 1")
    for pair in values.get("compare", []):
        if len(pair) != 2:
            raise ConfigError(f"compare: got {pair}, expected pairs of rows' titles, as in [[Att deepCR, deepCR]]")
    for key, value in values.items():
        check_node(value, key)
    return cast(DictConfig, merged)


def as_written(node: Any, key: str) -> str:
    """Return the text of a node under a key with what it refers to left unresolved."""
    return str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[call-overload, index]


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain lists and dicts: Hydra's own containers would turn dataclasses into nodes again."""
    return instantiate(node, _convert_="all", **more)


def check_node(node: Any, path: str) -> None:
    """Compare each node that has a ``_target_`` with the arguments of what it names, and so on below it."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_call(node, path)
        for key, value in node.items():
            check_node(value, f"{path}.{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for number, value in enumerate(node):
            check_node(value, f"{path}[{number}]")


def _check_call(node: Mapping[str, Any], path: str) -> None:
    try:
        target: Callable[..., Any] = get_object(node["_target_"])
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{path}._target_: there is no {node['_target_']!r} ({error})") from error
    signature = inspect.signature(target)
    parameters = signature.parameters
    given = {key: value for key, value in node.items() if key not in HYDRA_KEYS}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in given:
            if key not in parameters:
                raise ConfigError(f"{path}.{key}: unknown key; {node['_target_']} takes {', '.join(parameters)}")
    if not node.get("_partial_", False):
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind not in (2, 4)
            if needed and name not in given:
                raise ConfigError(f"{path}.{name}: {node['_target_']} needs a value")
    hints = _hints(target)
    for key, value in given.items():
        if key in hints and not fits(value, hints[key]):
            raise ConfigError(f"{path}.{key}: got {value!r}, expected {_readable(hints[key])}")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # annotations of a library that cannot be resolved are not ours to judge
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Say whether a value of a YAML file can be meant by a type hint; what is not plain is left to the call itself."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if hint is type(None) or value is None:
        return value is None and hint in (type(None), Any)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    wanted = origin or hint
    if isinstance(value, PLAIN) and inspect.isclass(wanted):
        return wanted in PLAIN and isinstance(value, wanted)
    return True


def _readable(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(a) for a in get_args(hint))
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
