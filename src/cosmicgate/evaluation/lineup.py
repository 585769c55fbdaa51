"""The detectors of an evaluation: built from their configs, whatever of them can be had here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from cosmicgate.config import build, cause_of
from cosmicgate.data.real.files import matching
from cosmicgate.detectors import Detector, Unavailable
from cosmicgate.detectors.network import read_checkpoint
from cosmicgate.tracking import tree_hash

Given = str | Sequence[str] | None  # a path, a glob pattern, or several of both
# Keys of a data node that say how it is trained on and leave its test as it is: those of a sweep may differ.
OF_TRAINING = ("seed", "transforms", "windows", "patch", "batch_size", "workers", "shares", "count")


def line_up(nodes: Mapping[str, Any], checkpoint: Given) -> tuple[list[Detector], list[dict[str, str]]]:
    """Build every detector that can be had here.

    Parameters
    ----------
    nodes : mapping of str to node
        Name -> a node of ``conf/detector``. The one named ``checkpoint`` is built once for each checkpoint.
    checkpoint : str, sequence of str, or None
        Paths and glob patterns.

    Returns
    -------
    detectors : list of Detector
        In the order of ``nodes``.
    unavailable : list of dict
        ``detector`` and ``reason``: what an optional package or file is missing for.

    Raises
    ------
    ValueError
        If nothing is left, with every reason; if two are called the same.
    """
    detectors: list[Detector] = []
    unavailable = []
    for name, node in nodes.items():
        try:
            several = _each(node, checkpoint) if name == "checkpoint" else [node]
            detectors += [_apart(build(one), name, detectors) for one in several]
        except Exception as error:  # whatever a config's target raises: only what is meant is caught
            cause = cause_of(error)
            if not isinstance(cause, Unavailable):
                raise
            unavailable.append({"detector": name, "reason": str(cause)})
    if not detectors:
        raise ValueError("no detector: " + "; ".join(f"{u['detector']}: {u['reason']}" for u in unavailable))
    return detectors, unavailable


def _apart(detector: Detector, name: str, before: Sequence[Detector]) -> Detector:
    """Return a detector whose row none of those before has: with its node's name behind the title where one had it."""
    taken = [(other.title, other.trained_on) for other in before]
    if (detector.title, detector.trained_on) not in taken:
        return detector
    title = f"{detector.title}, {name}"
    if (title, detector.trained_on) in taken or not is_dataclass(detector) or isinstance(detector, type):
        raise ValueError(f"detector.{name}: two rows would be called {detector.title!r}: leave one out")
    other: Detector = replace(detector, title=title)
    return other


def checkpoints(given: Given) -> list[Path]:
    """Return the paths that are given, patterns resolved.

    Raises
    ------
    Unavailable
        If a pattern names no file.
    """
    paths: list[Path] = []
    for entry in [given] if isinstance(given, str) else given or ():
        if any(c in entry for c in "*?[") and not Path(entry).exists():
            try:
                paths += matching(entry)
            except FileNotFoundError as error:
                raise Unavailable(f"{error}: train first, or give checkpoint=FILE") from error
        else:
            paths.append(Path(entry))
    return paths


def hashes(given: Given) -> dict[str, str]:
    """Return the SHA-256 of each checkpoint that is there, by its path."""
    try:
        return {str(path): tree_hash(path) for path in checkpoints(given) if path.is_file()}
    except Unavailable:
        return {}


def data_of(given: Given) -> Any:
    """Return the data node that the checkpoints were trained on.

    Raises
    ------
    ValueError
        If they are several that are not tested on the same frames: a table has one.
    """
    nodes = {str(path): read_checkpoint(path)["config"]["data"] for path in checkpoints(given)}
    first = next(iter(nodes))
    if other := next((path for path in nodes if _tested(nodes[path]) != _tested(nodes[first])), None):
        raise ValueError(f"{first} and {other} were trained on different data: give data=NAME to score them on")
    return nodes[first]


def _tested(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a data node decides on its test."""
    kept = {key: value for key, value in node.items() if key not in OF_TRAINING}
    parts = {"parts": {name: _tested(part) for name, part in node["parts"].items()}} if "parts" in node else {}
    return kept | parts


def _each(node: Mapping[str, Any], given: Given) -> list[dict[str, Any]]:
    """Return a node for each checkpoint; the title of twins gets their seed behind it, or else their run's folder."""
    paths = checkpoints(given)
    if len(paths) < 2:
        return [dict(node) | {"path": str(paths[0]) if paths else None}]
    configs = [read_checkpoint(path)["config"] for path in paths]
    trained = [config["trained_on"] for config in configs]
    titles = [config["title"] for config in configs]
    folders = [path.parent.parent for path in paths]
    seeds, names = [f"seed {config['seed']}" for config in configs], [folder.name for folder in folders]
    for behind in (seeds, names, [str(folder) for folder in folders]):
        times = Counter(zip(titles, trained, strict=True))
        longer = zip(titles, trained, behind, strict=True)
        titles = [f"{title}, {more}" if times[title, on] > 1 else title for title, on, more in longer]
    return [dict(node) | {"path": str(path), "title": title} for path, title in zip(paths, titles, strict=True)]
