"""Compare the configurations of trainings by the keys that determine their results."""

import json
from collections.abc import Mapping
from typing import Any

# Keys of a configuration that determine the results.
RESULT_KEYS = ("seed", "start", "data", "model", "module", "trainer", "callbacks", "threshold")
# Keys below them that may differ, as they concern only place and speed: another machine may finish a sweep.
MACHINE_KEYS = (
    *("default_root_dir", "root", "num_workers", "accelerator", "devices", "num_nodes", "strategy"),
    *("enable_progress_bar", "use_distributed_sampler", "sync_batchnorm", "plugins", "dirpath"),
)
DISPLAY_KEYS = ("callbacks.curves", "callbacks.rate")  # full paths of callbacks that only draw and log


def first_difference(before: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Describe the first key that determines the results and differs: "seed is 1 and was 0"; empty if there is none."""
    before, now = (_plain(one) for one in (before, config))
    return next((d for key in RESULT_KEYS if (d := _difference(before.get(key), now.get(key), key))), "")


def _difference(before: Any, now: Any, path: str) -> str:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return "" if before == now else f"{path} is {now!r} and was {before!r}"
    keys = [key for key in {**now, **before} if key not in MACHINE_KEYS and f"{path}.{key}" not in DISPLAY_KEYS]
    return next((d for key in keys if (d := _difference(before.get(key), now.get(key), f"{path}.{key}"))), "")


def result_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys that determine the results; those of speed and the folder of the real data are left out."""
    known: dict[str, Any] = _without(_plain(config), MACHINE_KEYS)
    (known["trainer"] or {}).pop("precision", None)  # several machines may share a sweep
    return known


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the RESULT_KEYS as JSON has them, with ``${real}`` for the folder of the real data in paths."""
    values: dict[str, Any] = json.loads(json.dumps({key: config.get(key) for key in RESULT_KEYS}))
    return _without_folder(values, f"{config['real']}/") if config.get("real") else values


def _without_folder(value: Any, folder: str) -> Any:
    """Replace a folder at the beginning of paths, at any depth, by ``${real}/``."""
    if isinstance(value, dict):
        return {key: _without_folder(one, folder) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_folder(one, folder) for one in value]
    return "${real}/" + value.removeprefix(folder) if isinstance(value, str) and value.startswith(folder) else value


def without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys that determine the results and are the same for all seeds of a network."""
    known = result_config(config)
    return known | {"seed": None, "data": without_in_data(known["data"] or {}, ("seed",))}


def without_in_data(node: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Leave out keys of a data node and of the data sets that it names, but not those of their sources of frames."""

    def of_named(value: Any) -> Any:
        if not isinstance(value, Mapping) or "_target_" in value:
            return value
        return {name: without_in_data(one, keys) if isinstance(one, Mapping) else one for name, one in value.items()}

    return {key: of_named(value) for key, value in node.items() if key not in keys}


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """Leave out keys at any depth."""
    if isinstance(value, dict):
        return {key: _without(one, keys) for key, one in value.items() if key not in keys}
    return [_without(one, keys) for one in value] if isinstance(value, list) else value
