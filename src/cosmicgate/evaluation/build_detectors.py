"""Build the detectors of an evaluation from their configs, leaving out those with missing dependencies."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from cosmicgate.config import ConfigError, build, cause_of, detector_nodes, in_sweep
from cosmicgate.data.cache import CACHE_KEY, sky_sha256
from cosmicgate.data.splits import without_hash
from cosmicgate.detectors import Detector, MissingDependency
from cosmicgate.evaluation.records import DetectorRecord, with_variant
from cosmicgate.evaluation.training_configs import first_difference, without_in_data, without_seed
from cosmicgate.io.atomic import tree_hash
from cosmicgate.io.run_files import BEST, PROVENANCE
from cosmicgate.pretrained.checkpoint import checkpoint_file, data_config, expect_keys, read_checkpoint

log = logging.getLogger(__name__)
Given = str | Sequence[str] | None  # a checkpoint, a run folder, a glob pattern of these, or several of them
# Keys of a data node that affect training only, not the test frames: they may differ between the jobs of a sweep.
TRAINING_ONLY_KEYS = ("seed", "transforms", "windows", "patch", "batch_size", "num_workers", "shares", "count")


def check_request(config: Mapping[str, Any], run: Path) -> None:
    """Refuse an evaluation that has no test data, or whose folder ``run`` is that of a training.

    Raises
    ------
    ConfigError
        If one of these is so; names the key.
    """
    if config["data"] is None and not config["checkpoint"]:
        raise ConfigError("data: nothing to score; give checkpoint=RUN (its test data) or data=NAME")
    if (run / "checkpoints").is_dir():
        raise ConfigError(f"hydra.run.dir: {run} is a training's folder, whose results these would replace")


def build_detectors(nodes: Mapping[str, Any], checkpoint: Given) -> tuple[list[Detector], list[dict[str, str]]]:
    """Build every detector whose dependencies are available.

    Parameters
    ----------
    nodes : mapping of str to node
        Name -> node of ``conf/detector``. The node named ``checkpoint`` is built once for each checkpoint.
    checkpoint : str, sequence of str, or None
        Checkpoints, run folders and glob patterns of them.

    Returns
    -------
    detectors : list of Detector
        Available detectors, in the order of ``nodes``.
    unavailable : list of dict
        ``detector`` and ``reason`` of those that lack an optional package or a file.

    Raises
    ------
    ValueError
        If no detector is available (the message gives every reason), or if two cannot be told apart in a table.
    """
    detectors, unavailable = _available(nodes, checkpoint)
    if not detectors:
        raise ValueError("no detector: " + "; ".join(f"{u['detector']}: {u['reason']}" for u in unavailable))
    return detectors, unavailable


def build_baselines(names: Sequence[str], model: str, variant: str) -> tuple[list[Detector], list[dict[str, str]]]:
    """Build the detectors of ``conf/detector`` that are tested on the same frames as a new training.

    In a sweep none are built, because each job would score them again on the same frames.
    """
    return _available({} if in_sweep() else detector_nodes(names), None, DetectorRecord(model, variant).name)


def _available(
    nodes: Mapping[str, Any], checkpoint: Given, reserved: str = ""
) -> tuple[list[Detector], list[dict[str, str]]]:
    """Build detectors, none of them named ``reserved``, and list those that are unavailable."""
    detectors: list[Detector] = []
    unavailable = []
    for name, node in nodes.items():
        try:
            several = _paths_and_variants(checkpoint) if name == "checkpoint" else [{}]
            detectors += [_distinct(build(node, **one), name, detectors, reserved) for one in several]
        except Exception as error:  # Hydra wraps what the target raises; only MissingDependency is handled
            cause = cause_of(error)
            if not isinstance(cause, MissingDependency):
                raise
            unavailable.append({"detector": name, "reason": str(cause)})
    return detectors, unavailable


def _distinct(detector: Detector, node: str, before: Sequence[Detector], reserved: str) -> Detector:
    """Add the node's name to the variant of a detector whose row could not be told from one before."""
    taken = [_fields(other) for other in before]
    record = DetectorRecord.of(detector)
    if _fields(detector) not in taken and record.name != reserved:
        return detector
    if is_dataclass(detector) and not isinstance(detector, type) and hasattr(detector, "variant"):
        other: Detector = replace(detector, variant=with_variant(record, node).variant)
        if _fields(other) not in taken:
            return other
    raise ValueError(f"detector.{node}: two rows would be called {record.name!r}: leave one out")


def _fields(detector: Detector) -> DetectorRecord:
    return replace(DetectorRecord.of(detector), weights=None)


def checkpoints(given: Given) -> list[Path]:
    """List checkpoint files: glob patterns are expanded, and a run folder stands for its best weights.

    Raises
    ------
    MissingDependency
        If a pattern matches neither a checkpoint nor a run folder that has one.
    FileNotFoundError
        If a folder is not a run folder with weights.
    """
    paths: list[Path] = []
    for entry in [given] if isinstance(given, str) else given or ():
        path = Path(entry).expanduser()
        if any(c in entry for c in "*?[") and not path.exists():
            fixed = next(p for p in path.parents if not any(c in str(p) for c in "*?["))
            named = sorted(fixed.glob(str(path.relative_to(fixed))))
            found = [checkpoint_file(one) for one in named if one.suffix == ".ckpt" or (one / BEST).is_file()]
            if not found:
                raise MissingDependency(
                    f"no file matches {entry!r}, and no run folder: train first, or give checkpoint=RUN or FILE"
                )
            paths += found
        elif path.is_dir() and not (path / BEST).is_file():
            raise FileNotFoundError(f"checkpoint={entry}: no run folder of train.py, it has no {BEST}")
        else:
            paths.append(checkpoint_file(path))
    return list(dict.fromkeys(paths))


def hashes(given: Given) -> dict[str, str]:
    """Compute the SHA-256 of each checkpoint that exists, by its path."""
    return {str(path): tree_hash(path) for path in _existing(given)}


def _existing(given: Given) -> list[Path]:
    try:
        return [path for path in checkpoints(given) if path.is_file()]
    except MissingDependency:
        return []


def data_node_of(given: Given, trust: Sequence[str] = ()) -> Any:
    """Read the data node that the checkpoints were trained on.

    Raises
    ------
    ValueError
        If the checkpoints have different test frames, since a table has one test set for all its rows; or if the node
        names a class outside this package and the modules in ``trust``.
    """
    nodes = {str(path): data_config(path, trust) for path in checkpoints(given)}
    first = next(iter(nodes))
    tested = {path: without_in_data(node, TRAINING_ONLY_KEYS) for path, node in nodes.items()}
    if other := next((path for path in nodes if tested[path] != tested[first]), None):
        raise ValueError(f"{first} and {other} were trained on different data: give data=NAME to score them on")
    return nodes[first]


def check_untrained(given: Given, folders: Sequence[Path], own_data: bool = True) -> None:
    """Check that no frame to test on is one of the trainings: other data may have the same files, or other splits.

    Frames of one name are the same if their pixels are, before hits were added. A warning is logged if that is unknown,
    as of frames that earlier versions made.

    Parameters
    ----------
    given : str, sequence of str, or None
        Checkpoints, whose run folders say which frames each split had.
    folders : sequence of Path
        Labelled frames to test on.
    own_data : bool
        Whether they are the test data of the trainings: a warning is logged if they are not all of these.

    Raises
    ------
    ValueError
        If a network was trained or validated on one of them; names it.
    """
    frames = {folder.name for folder in folders}
    for path in _existing(given):
        file = path.parent.parent / PROVENANCE
        record = json.loads(file.read_text()) if file.is_file() else {}
        splits = record.get("splits")
        if splits is None:  # a checkpoint alone, or of an earlier version
            continue
        seen = without_hash(splits["train"] + splits["validation"]) - without_hash(splits["test"])
        alike = [folder for folder in folders if without_hash([folder.name]) & seen]
        same = {folder: _is_trained_on(folder, record) for folder in alike}
        for verdict in (True, None):
            known = sorted(without_hash(folder.name for folder in alike if same[folder] is verdict))
            others = f" (and {len(known) - 1} more)" if len(known) > 1 else ""
            if known and verdict:
                raise ValueError(
                    f"{path} was trained on {known[0]}, which is now a test frame{others}: files were added or removed "
                    "since the training, or are split otherwise. Give the same files, or other data with data=..."
                )
            if known:
                log.warning(
                    "%s was trained on a frame called %s, as a test frame is%s; if it is the same, its score is not "
                    "independent",
                    *(path, known[0], others),
                )
        if own_data and set(splits["test"]) - frames:
            log.warning("%s: the test frames are not those of this training: files were changed since", path)


def _is_trained_on(folder: Path, record: Mapping[str, Any]) -> bool | None:
    """Check whether a test frame is the one of its name that a training had; None if it is unknown."""
    splits = record["splits"]
    names = [n for n in splits["train"] + splits["validation"] if without_hash([n]) == without_hash([folder.name])]
    sky, known = sky_sha256(folder), [record.get("skies", {}).get(name) for name in names]
    if (folder.name in names and CACHE_KEY.search(folder.name)) or (sky and sky in known):
        return True
    if sky and all(known):
        return False
    return True if tree_hash(folder) in [record.get("inputs", {}).get(name) for name in names] else None


def _paths_and_variants(given: Given) -> list[dict[str, str | None]]:
    """List path and variant of each checkpoint.

    The variant has the name of the run folder if another checkpoint would get the same row of a table: same network
    and seed, or seeds of a network whose configurations differ in more than the seed.
    """
    paths = checkpoints(given)
    if len(paths) < 2:
        return [{"path": str(paths[0]) if paths else None}]
    configs = [read_checkpoint(path)["config"] for path in paths]
    for config, path in zip(configs, paths, strict=True):
        expect_keys(config, path)
    records = [
        DetectorRecord(config["title"], config.get("variant", ""), config["seed"], trained_on=config["trained_on"])
        for config in configs
    ]
    folders = [path.parent.parent for path in paths]
    for more in ([folder.name for folder in folders], [str(folder) for folder in folders]):
        times, differing = Counter(records), _differing(records, configs)
        for recipe, reason in differing.items():
            log.warning("%s: not averaged over seeds, each is a row: %s", DetectorRecord(*recipe[:2]).name, reason)
        records = [
            with_variant(r, name) if times[r] > 1 or r.recipe in differing else r
            for r, name in zip(records, more, strict=True)
        ]
    return [{"path": str(path), "variant": record.variant} for path, record in zip(paths, records, strict=True)]


def _differing(
    records: Sequence[DetectorRecord], configs: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str, str | None], str]:
    """Find the networks whose trainings differ in more than their seed, and the first key that differs."""
    first: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    found: dict[tuple[str, str, str | None], str] = {}
    for record, config in zip(records, configs, strict=True):
        known = without_seed(config)
        if reason := first_difference(first.setdefault(record.recipe, known), known):
            found.setdefault(record.recipe, reason)
    return found
