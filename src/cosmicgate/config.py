"""Define the configuration keys of ``train.py`` and ``evaluate.py``, and validate configurations.

Top-level keys are dataclass fields; nodes with a ``_target_`` are checked against its signature. A misspelt key, in a
file or as ``+key=``, and a value of a wrong type raise an error that names the key, before anything runs.
"""

import collections.abc
import inspect
import logging
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from cosmicgate.extras import extra

with extra("train"):
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException, InstantiationException
    from hydra.types import RunMode
    from hydra.utils import get_object, instantiate
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

import torch  # after the extra: a command without it says so at once

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
PLAIN = (bool, int, float, str)
# Type -> its name in error messages, for one value and for several.
WORDS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    type(None): ("null", "nulls"),
    Any: ("anything", "anything"),
    object: ("anything", "anything"),
}
# Keys that take values of several types, which OmegaConf's structured configs do not support.
SEVERAL_TYPES: dict[str, Any] = {
    "checkpoint": str | list[str] | None,
    "timing": tuple[int, int] | None,
    "draw_feature_maps": bool | list[str],
}
# Keys and choices by the names that other programs, or earlier versions, give them -> the name here, or what to type.
KNOWN_AS = {
    "ckpt_path": "start=CHECKPOINT for the first weights of train.py, hydra.run.dir=RUN to resume a run, "
    "checkpoint=RUN of evaluate.py",
    "resume_from_checkpoint": "hydra.run.dir=RUN, that of the run to resume",
    "trainer.resume_from_checkpoint": "hydra.run.dir=RUN, that of the run to resume",
    "trainer.fast_dev_run": "debug=default, one batch of everything",
    "debug=fdr": "debug=default",
    "debug=limit": "trainer.limit_train_batches=0.01",
    "hparams_search": "python scripts/search.py, another command",
    "sweep=search": "python scripts/search.py, another command",
    "train": "python evaluate.py checkpoint=RUN, which tests without training",
    "test": "python evaluate.py checkpoint=RUN; a training is always tested",
    "task_name": "name",
    "experiment_name": "name",
    "run_name": "name",
    "output_dir": "hydra.run.dir",
    "paths.output_dir": "hydra.run.dir",
    "data_dir": "data.root",
    "data.data_dir": "data.root",
    "paths.data_dir": "data.root",
    "datamodule": "data",
    "dataset": "data",
    "batch_size": "data.batch_size",
    "num_workers": "data.num_workers",
    "workers": "data.num_workers",
    "data.workers": "data.num_workers",
    "net": "model",
    "model.net": "model",
    "optimizer": "module.optimizer",
    "model.optimizer": "module.optimizer",
    "scheduler": "module.scheduler",
    "lr_scheduler": "module.scheduler",
    "model.scheduler": "module.scheduler",
    "loss": "module.loss",
    "model.loss": "module.loss",
    "lr": "module.optimizer.lr",
    "learning_rate": "module.optimizer.lr",
    "model.lr": "module.optimizer.lr",
    "module.lr": "module.optimizer.lr",
    "module.optimizer.learning_rate": "module.optimizer.lr",
    "epochs": "trainer.max_epochs",
    "max_epochs": "trainer.max_epochs",
    "accelerator": "trainer.accelerator",
    "devices": "trainer.devices",
    "gpus": "trainer.devices",
    "trainer.gpus": "trainer.devices",
    "precision": "trainer.precision",
    "wandb": "logger",
    "logger.wandb": "logger",
    "logger.csv": "logger",
    "logger.tensorboard": "logger",
    "trainer.logger": "logger=csv, tensorboard or wandb",
    "trainer.callbacks": "+callbacks.NAME={_target_: ...}",
    "data.split": "data.part",
    "callbacks.curves.every": "callbacks.curves.every_n_epochs",
    "callbacks.curves.images": "callbacks.curves.max_images",
    "callbacks.freeze.fraction": "callbacks.freeze.start_fraction",
    "callbacks.freeze.restart": "callbacks.freeze.restart_lr_factor",
    "callbacks.freeze.hold": "callbacks.freeze.constant_lr",
    "data.also": "data.extra_test_sets",
    "data.darks.header": "data.darks.header_overrides",
    "data.draws": "data.injections_per_exposure, a key of labelled exposures",
    "data.frames.draws": "data.frames.injections_per_exposure",
    "data.frames.header": "data.frames.header_overrides",
    "data.science.header": "data.science.header_overrides",
    "data.parts.sharp": "data.parts.undersampled",
    "data.parts.smeared": "data.parts.trailed_defocused",
    "data.science.smeared": "data.science.trailed_or_defocused",
    "data.shares.sharp": "data.shares.undersampled",
    "data.shares.smeared": "data.shares.trailed_defocused",
    "detector=packaged": "detector=pretrained",
    "detector=packaged_fast": "detector=pretrained_cascade",
    "detector=packaged_four": "detector=pretrained_paper",
    "beside=packaged": "baselines=[pretrained]",
    "beside": "baselines",
    "picture": "draw_masks",
    "mistakes": "draw_errors",
    "features": "draw_feature_maps",
    **{
        f"detector.{name}.grow": f"detector.{name}.dilate_masks"
        for name in (
            *("astroscrappy", "astroscrappy_default", "astroscrappy_published", "cosmic_conn_lco", "deepcr_decam"),
            *("lacosmic", "lacosmic_published"),
        )
    },
    "data=sealed": "data=held_out",
    "data=lco_zenodo": "data=lco",
    "data/size=none": "~data/size",
    "experiment=decam_trained": "experiment=decam",
    "experiment=narrow": "experiment=ablations/width_8",
    "experiment=small_8": "experiment=ablations/unet_2_8",
    "experiment=small_16": "experiment=ablations/unet_2_16",
    **{
        f"experiment={name}": f"experiment=ablations/{name}"
        for name in ("ema", "loss_dice", "loss_focal", "loss_median", "physical_hits", "raw_input", "raw_input_no_sky")
    },
    **{
        f"experiment={name}": "pretrained=general"
        for name in ("cameras", "general", "smeared", "faint", "longer", "trails", "sharp")
    },
    **{f"experiment={name}": "pretrained=general_cascade" for name in ("screen", "squares")},
    **{f"experiment={name}": f"evaluation={name}" for name in ("paper_tables", "paper_tables_quick", "variants")},
}


class ConfigError(ValueError):
    """Error of an invalid configuration; the message names the key."""


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
    variant: str = ""
    group: str | None = None
    resume: bool = True
    start: str | None = None
    keep_results: str | None = None
    threshold: float = 0.5
    baselines: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


@dataclass
class Evaluate:
    """Keys of ``evaluate.py``."""

    detector: Any
    seed: int
    real: str
    checkpoint: Any = None  # a checkpoint, a run folder, a glob pattern, or a list of these
    trust: list[str] = field(default_factory=list)
    weights: str | None = None
    data: Any = None
    networks: Any = field(default_factory=dict)  # name -> node of conf/model
    timing: Any = None  # rows and columns of the frame on which detectors are timed
    compare: list[list[str]] = field(default_factory=list)
    draw_masks: bool = True
    draw_errors: bool = False
    draw_feature_maps: Any = False
    logger: Any = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Report an error of the user's input in one sentence and exit with code 1; the traceback goes to the log file.

    In a sweep the error is raised again: :class:`~cosmicgate.training.sweeps.ContinueOnJobFailure` records it, and the
    next job runs.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, InstantiationException) as error:
        cause = cause_of(error)
        if in_sweep() or not isinstance(cause, (ValueError, OSError, ImportError)):
            raise
        logging.getLogger(__name__).debug("traceback", exc_info=error)
        sys.exit(f"error: {cause}")


def in_sweep() -> bool:
    """Check whether this command is one of a sweep's jobs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def cause_of(error: BaseException) -> BaseException:
    """Unwrap the exception that a config's target raised from Hydra's InstantiationException."""
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    return error


def precision(accelerator: str = "auto") -> str:
    """Choose the fastest safe precision of a trainer's accelerator on this machine, by Lightning's name."""
    if not gpu(accelerator):
        return "32-true"
    # Cards of compute capability below 8.0 only emulate bfloat16.
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def gpu(accelerator: str = "auto") -> bool:
    """Check whether a trainer with this accelerator trains on a GPU of this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


TITLES = {
    "deepcr": "deepCR",
    "att_deepcr": "Att deepCR",
    "cosmic_conn": "Cosmic-CoNN",
    "att_cosmic_conn": "Att Cosmic-CoNN",
}


def title(name: str) -> str:
    """Look up the paper's name of a network."""
    return TITLES.get(name, name)


def path_name(name: str) -> str:
    """Replace characters in a name that Hydra or shells need quoted (``=``, commas, spaces), for use in a path."""
    return re.sub(r"[^\w./+-]+", "-", str(name)).strip("-/") or "unnamed"


def choice_name(choice: str | None) -> str | None:
    """Cut the folder off a choice: ``ablations/ema`` becomes ``ema``."""
    return choice and choice.rpartition("/")[2]


def choices(*names: str) -> str:
    """List the options of config groups, a line each, for ``--help``.

    Parameters
    ----------
    names : str
        Groups; their subgroups are listed too. ``-NAME`` leaves out an option, ``-real_*`` several; ``_NAME`` is never
        listed.
    """
    loader = GlobalHydra.instance().config_loader()
    left_out = ["_*", *(name[1:] for name in names if name.startswith("-"))]

    def options(group: str) -> list[str]:
        return [o for o in loader.get_group_options(group) if not any(fnmatch(o, pattern) for pattern in left_out)]

    lines, groups = [], [name for name in names if not name.startswith("-")]
    while groups:
        group, below = groups[0], loader.list_groups(groups[0])
        inside = [f"{folder}/{o}" for folder in below for o in options(f"{group}/{folder}")]
        lines.append(f"{group}: {', '.join(options(group) + (inside if group == 'experiment' else []))}")
        groups = [*(f"{group}/{folder}" for folder in below if group != "experiment"), *groups[1:]]
    return "\n".join(lines)


OmegaConf.register_new_resolver("choices", choices, replace=True)
OmegaConf.register_new_resolver("stem", choice_name, replace=True)
OmegaConf.register_new_resolver("path_name", path_name, replace=True)
OmegaConf.register_new_resolver("model_title", title, replace=True)
OmegaConf.register_new_resolver("gpu", gpu, replace=True)
OmegaConf.register_new_resolver("auto_precision", precision, replace=True)


def validate(cfg: DictConfig, schema: type[Train] | type[Evaluate]) -> DictConfig:
    """Check the keys and types of ``cfg`` and return it merged with the defaults of ``schema``.

    Raises
    ------
    ConfigError
        If a key is unknown, missing or of a wrong type; names the first such key and what was expected.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), cfg)
    except OmegaConfBaseException as error:
        hints, key = get_type_hints(schema), re.split(r"[.\[]", error.full_key or "")[0]
        if key in hints:
            found = OmegaConf.to_container(cfg, resolve=False)
            raise ConfigError(f"{key}: got {found[key]!r}, expected {describe_type(hints[key])}") from error  # type: ignore
        reason = str(error).splitlines()[0].removesuffix(".")
        known = ", ".join(schema.__dataclass_fields__)
        hint = hint_for_unknown_name(error.full_key or "") or f"known keys: {known}"
        raise ConfigError(f"{error.full_key or 'configuration'}: {reason} ({hint})") from error
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        raise ConfigError(f"{missing[0]}: needs a value")
    values: Any = OmegaConf.to_container(merged, resolve=True)
    if not 0 < values.get("threshold", 0.5) < 1:
        raise ConfigError(f"threshold: got {values['threshold']}, expected a probability between 0 and 1")
    for key, hint in SEVERAL_TYPES.items():
        if key in values and not matches_type(values[key], hint):
            raise ConfigError(f"{key}: got {values[key]!r}, expected {describe_type(hint)}")
    for pair in values.get("compare", []):
        if len(pair) != 2:
            raise ConfigError(f"compare: got {pair}, expected pairs of models, as in [[Att deepCR, deepCR]]")
    if schema is Train:
        _check_parts(values)
    for key, value in values.items():
        check_node(value, key, cast(DictConfig, merged))
    return cast(DictConfig, merged)


def _check_parts(values: Mapping[str, Any]) -> None:
    """Check that the parts of a training are nodes, and that it lasts an epoch."""
    parts = {key: values[key] for key in ("data", "model", "module", "callbacks", "logger", "trainer")}
    if isinstance(parts["callbacks"], Mapping):
        parts |= {f"callbacks.{name}": one for name, one in parts["callbacks"].items()}
    for key, part in parts.items():
        if not isinstance(part, Mapping):
            raise ConfigError(f"{key}: got {part!r}, expected a node of keys and values")
    if "best" not in parts["callbacks"]:
        raise ConfigError("callbacks.best: missing, expected the ModelCheckpoint of the weights that are tested")
    for key in ("logger", "callbacks"):
        if key in parts["trainer"]:
            raise ConfigError(f"trainer.{key}: {hint_for_unknown_name(f'trainer.{key}')}")
    if parts["trainer"].get("max_epochs") == 0:
        raise ConfigError("trainer.max_epochs: got 0, expected 1 or more")


def load_training_config(file: Path, values: Mapping[str, Any], settings: Sequence[str] = ()) -> tuple[DictConfig, Any]:
    """Read a configuration of a training that comes with the package, and validate it.

    Parameters
    ----------
    file : Path
        YAML file with the keys of :class:`Train`.
    values : mapping
        Nested values that are set in it.
    settings : sequence of str
        Further values as they are typed, such as ``trainer.max_epochs=20``.

    Returns
    -------
    DictConfig
        The configuration, for :func:`build`.
    dict
        The same as plain values.

    Raises
    ------
    ConfigError
        If a key is unknown, missing or of a wrong type.
    """
    given = [_parsed(one) for one in settings]
    cfg = OmegaConf.merge(OmegaConf.load(file), OmegaConf.create(dict(values)), *given)
    cfg = validate(cast(DictConfig, cfg), Train)
    return cfg, OmegaConf.to_container(cfg, resolve=True)


def _parsed(setting: str) -> DictConfig:
    """Parse a value as it is typed, KEY=VALUE."""
    expected = f"{setting}: expected KEY=VALUE, as in trainer.max_epochs=20"
    if "=" not in setting.strip("="):
        raise ConfigError(expected)
    try:
        return OmegaConf.from_dotlist([setting])
    except Exception as error:  # the YAML parser's errors have a class of their own
        raise ConfigError(f"{expected} ({str(error).splitlines()[0]})") from error


def hint_for_unknown_name(key: str) -> str:
    """Translate a key, or a choice (``group=name``), of another program or an earlier version into a hint for errors.

    Empty for a key that is not in :data:`KNOWN_AS`; a key below one that is (``model.optimizer.lr``) keeps its end.
    """
    for known, here in KNOWN_AS.items():
        if key == known or (key.startswith(f"{known}.") and " " not in here):
            return f"unknown name {known}; use {here}{key.removeprefix(known)}"
    return ""


def as_written(node: Any, key: str) -> str:
    """Read the text of a key of a node with its interpolations (``${...}``) unresolved."""
    return str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[call-overload, index]


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain lists and dicts, as Hydra's own containers would turn dataclasses into nodes again.

    Further arguments are passed as values, not as configuration, so that ``${...}`` in them is not interpolated: a
    title may come from another person's file.
    """
    return instantiate(node, _convert_="all", _partial_=True)(**more) if more else instantiate(node, _convert_="all")


def detector_nodes(names: Sequence[str]) -> dict[str, Any]:
    """Compose nodes of ``conf/detector`` by name, as ``python evaluate.py detector=[...]`` does.

    Raises
    ------
    ConfigError
        If there is no file of a name.
    """
    if not names:
        return {}
    try:
        node = compose("evaluate", [f"detector=[{','.join(names)}]"])["detector"]
    except HydraException as error:
        known = "names of files in conf/detector, without .yaml"
        raise ConfigError(f"baselines: got {list(names)}, expected {known} ({str(error).splitlines()[0]})") from error
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def modules_named(node: Any) -> list[str]:
    """List the modules of the classes that the user's own configuration names, in order to trust its checkpoints."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        own = [target.rpartition(".")[0], get_object(target).__module__] if isinstance(target, str) else []
        return [*own, *(module for value in node.values() for module in modules_named(value))]
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [module for value in node for module in modules_named(value)]
    return []


def check_node(node: Any, path: str, cfg: DictConfig) -> None:
    """Check each node with a ``_target_``, at any depth, against the signature of that target."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_call(node, path, cfg)
        for key, value in node.items():
            check_node(value, f"{path}.{key}", cfg)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for number, value in enumerate(node):
            check_node(value, f"{path}[{number}]", cfg)


def _check_call(node: Mapping[str, Any], path: str, cfg: DictConfig) -> None:
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
                taken = f"unknown key; {node['_target_']} takes {', '.join(parameters)}"
                raise ConfigError(f"{path}.{key}: {hint_for_unknown_name(f'{path}.{key}') or taken}")
    if not node.get("_partial_", False):
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind not in (2, 4)
            if needed and name not in given:
                raise ConfigError(f"{path}.{name}: {node['_target_']} needs a value")
    hints = _hints(target)
    for key, value in given.items():
        if key in hints and not matches_type(value, hints[key]):
            # The value may be taken from another key, ${KEY}: that one is wrong.
            written_in = OmegaConf.select(cfg, path)  # None below a key that has a dot in its name
            taken_from = written_in and re.fullmatch(r"\$\{([\w.]+)\}", as_written(written_in, key))
            where = taken_from[1] if taken_from else f"{path}.{key}"
            raise ConfigError(f"{where}: got {value!r}, expected {describe_type(hints[key])}")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # a library's annotations may not be resolvable: skip the check
        return {}


def matches_type(value: Any, hint: Any) -> bool:
    """Check whether a value of a YAML file matches a type hint.

    Plain values are checked, and the items of lists and mappings. A node with a ``_target_`` always matches, as only
    instantiating it would show its type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return matches_type(value, parts[0])
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (Union, types.UnionType):
        return any(matches_type(value, part) for part in parts)
    if hint in (Any, object) or not inspect.isclass(wanted := origin or hint):
        return True
    if value is None or wanted is type(None):
        return value is None and wanted is type(None)
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    if isinstance(value, PLAIN):
        numeric = wanted is float and isinstance(value, int) and not isinstance(value, bool)
        return numeric or (wanted in PLAIN and type(value) is wanted)
    if wanted in (*PLAIN, collections.abc.Callable) or is_dataclass(wanted):
        return False
    if isinstance(value, Mapping):
        keys, values = parts if len(parts) == 2 and issubclass(wanted, Mapping) else (Any, Any)
        return not issubclass(wanted, list | tuple) and all(
            matches_type(key, keys) and matches_type(one, values) for key, one in value.items()
        )
    if not isinstance(value, Sequence):
        return True
    if wanted is tuple and parts and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(matches_type, value, parts))
    of = parts[0] if parts and not issubclass(wanted, Mapping) else Any
    return not issubclass(wanted, Mapping) and all(matches_type(one, of) for one in value)


def describe_type(hint: Any) -> str:
    """Describe a type hint for error messages in terms of YAML: "a number or null", "one of batch, group"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return describe_type(parts[0])
    if hint in WORDS:
        return WORDS[hint][0]
    if origin is Literal:
        return ("one of " if len(parts) > 1 else "") + ", ".join(_as_yaml(part) for part in parts)
    if origin in (Union, types.UnionType):
        ordered = sorted(parts, key=lambda part: part is type(None))  # null comes last
        several = list(dict.fromkeys(describe_type(part) for part in ordered if part is not int or float not in parts))
        return " or ".join([", ".join(several[:-1]), several[-1]] if len(several) > 1 else several)
    wanted = origin or hint
    if wanted is collections.abc.Callable:
        return "a function or class to call, a node with _target_ and _partial_: true"
    if not inspect.isclass(wanted):
        return str(hint).replace("typing.", "")
    if issubclass(wanted, Mapping):
        return "a mapping" + (f" of {_plural(parts[0])} to {_plural(parts[1])}" if len(parts) == 2 else "")
    if wanted is tuple and parts and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)}: " + ", ".join(map(describe_type, parts))
    if wanted in (list, tuple, set, frozenset) or wanted.__module__ == "collections.abc":
        return "a list" + (f" of {_plural(parts[0])}" if parts else "")
    return f"a node with the _target_ of a {wanted.__module__}.{wanted.__qualname__}"


def _plural(hint: Any) -> str:
    """Describe the type hint of a list's values."""
    return WORDS[hint][1] if hint in WORDS else f"({describe_type(hint)})"


def _as_yaml(value: Any) -> str:
    """Format a plain value as in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
