"""Score detectors on test sets, and compute the differences between detectors."""

import logging
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from cosmicgate.data.cache import load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.detectors import Detector, Setting, for_telescope
from cosmicgate.evaluation.frame_results import cached_result, read_result, read_seconds, result_path
from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.evaluation.scores import TestSetScores, difference, score
from cosmicgate.evaluation.seed_means import DetectorScores, means, restrict_to_common_seeds
from cosmicgate.extras import extra
from cosmicgate.io.messages import first_line, with_progress

with extra("train"):
    import pytorch_lightning as pl

log = logging.getLogger(__name__)


def evaluate(detectors: Sequence[Detector], test_sets: Sequence[TestSet], cache: Path) -> list[dict[str, Any]]:
    """Score each detector on each test set; an error of a detector is not caught.

    Parameters
    ----------
    detectors : sequence of Detector
        Detectors to score.
    test_sets : sequence of TestSet
        Test sets. Only counts of each frame are kept in memory, no pixels.
    cache : Path
        Folder of cached results of single frames, so that a stopped evaluation resumes.

    Returns
    -------
    list of dict
        Rows of ``results.json``, one for each test set and detector.
    """
    names = _names(detectors)
    return [
        row(
            DetectorScores(
                record.with_shared_cameras(test_set.cameras),
                detector.threshold,
                scored_frames(detector, test_set, cache, name),
            ),
            test_set,
        )
        for test_set in test_sets
        for detector, (record, name) in zip(detectors, names, strict=True)
    ]


def _names(detectors: Sequence[Detector]) -> list[tuple[DetectorRecord, str]]:
    """Make the record of each detector, and the name under which its progress is reported."""
    records = [DetectorRecord.of(detector) for detector in detectors]
    shown = titles(records)
    return [(record, shown[record]) for record in records]


def score_training(
    network: Detector,
    baselines: Sequence[Detector],
    unavailable: Sequence[Mapping[str, str]],
    test_sets: Sequence[TestSet],
    cache: Path,
) -> dict[str, Any]:
    """Score a newly trained network and the baselines; return the content of ``results.json``.

    Baselines may fail, as in :func:`compare`, or be unavailable, as in
    :func:`~cosmicgate.evaluation.build_detectors.build_detectors`; an error of the network itself is raised.
    """
    rows = evaluate([network], test_sets, cache)
    content = compare(baselines, test_sets, cache)
    return content | {"rows": rows + content["rows"], "unavailable": list(unavailable)}


def compare(
    detectors: Sequence[Detector], test_sets: Sequence[TestSet], cache: Path, pairs: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Score detectors and their differences; a detector that raises an error loses only its own row.

    Parameters
    ----------
    detectors, test_sets, cache
        As in :func:`evaluate`.
    pairs : sequence of (str, str)
        Pairs whose difference is computed, the one expected to be better first. A pair of models is compared in each
        variant and seed that both have; a pair of names, such as "deepCR (released)", in just these variants. Several
        seeds of a network add a row of their mean, and means are compared as well.

    Returns
    -------
    dict
        Content of ``results.json``: ``rows``, ``differences`` and ``failed`` (test_set, detector, reason).
    """
    rows, differences, failed = [], [], []
    numbers, in_all = count(1), len(test_sets) * len(detectors)
    names = _names(detectors)
    for test_set in test_sets:
        scored: list[DetectorScores] = []
        for detector, (record, name) in zip(detectors, names, strict=True):
            try:
                found = scored_frames(detector, test_set, cache, f"row {next(numbers)} of {in_all}: {name}")
            except Exception as error:  # a third-party package may raise anything; the other rows must still be scored
                reason = first_line(error)
                log.error("%s on %s failed: %s", name, test_set.name, reason)
                log.debug("traceback", exc_info=error)
                failed.append({"test_set": test_set.name, "detector": record, "reason": reason})
            else:
                scored.append(DetectorScores(record.with_shared_cameras(test_set.cameras), detector.threshold, found))
        scored += means(scored)
        rows += [row(one, test_set) for one in scored]
        differences += find_differences(scored, pairs, test_set)
    _warn_of_missing(pairs, differences, rows)
    return {"rows": rows, "differences": differences, "failed": failed}


def _warn_of_missing(
    pairs: Sequence[Sequence[str]], differences: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Warn of pairs that were not compared, if there is more than one trained network."""
    compared = [(d["a"], d["b"]) for d in differences]
    found = [
        f"{better!r} - {other!r}"
        for better, other in pairs
        if not any(_is_pair(a, b, better, other) for a, b in compared)
    ]
    # Classical detectors, which have no area under the ROC curve, may have "trained_on" set by the tuning of settings.
    scored = [r["detector"] for r in rows if r["detector"].trained_on and r["dilated"]["roc_auc"] is not None]
    names = list(dict.fromkeys(record.name for record in scored))
    if found and len(set(scored)) > 1:
        log.warning("not compared: %s: not among the networks here (%s)", "; ".join(found), ", ".join(names))


def score_frames_distributed(
    detector: Detector, test_sets: Sequence[TestSet], cache: Path, trainer: pl.Trainer
) -> None:
    """Run a detector on this process's share of the frames and wait for the other processes.

    :func:`evaluate` then finds all results in the cache.
    """
    if trainer.world_size > 1:
        frames = [folder for test_set in test_sets for folder in test_set.folders]
        for folder in frames[trainer.global_rank :: trainer.world_size]:
            cached_result(detector, folder, cache)
        trainer.strategy.barrier()


def scored_frames(detector: Detector, test_set: TestSet, cache: Path, name: str) -> TestSetScores:
    """Score a detector on a test set; ``name`` is what the progress line calls it."""
    folders = with_progress(test_set.folders, f"{name} on {test_set.name}", "scored")
    results = [read_result(cached_result(detector, folder, cache)) for folder in folders]
    known = [load_labelled(folder).facts.get("field", folder.name) for folder in test_set.folders]
    return score(results, test_set.fields or known)


def log_seconds(detectors: Sequence[Detector], test_sets: Sequence[TestSet], run: Path) -> None:
    """Log the total duration of each row, including that of frames scored by earlier calls.

    ``run`` is the folder of the evaluation.
    """
    for test_set in test_sets:
        for detector, (_, name) in zip(detectors, _names(detectors), strict=True):
            paths = [result_path(detector, folder, run / "frames") for folder in test_set.folders]
            known = [read_seconds(path) for path in paths if path.is_file()]
            log.info("%s on %s: %.1f s, %d of %d frames", name, test_set.name, sum(known), len(known), len(paths))


def row(scored: DetectorScores, test_set: TestSet) -> dict[str, Any]:
    """Make a row of ``results.json``: test set, data origin, detector and scores."""
    return {
        "test_set": test_set.name,
        "data_origin": test_set.data_origin,
        "benchmark": test_set.benchmark,
        "detector": scored.record,
        "threshold": _threshold(scored.threshold, test_set, scored.record.name),
    } | scored.scores.content


def _threshold(setting: Setting, test_set: TestSet, name: str) -> float | None:
    """Look up the threshold of a detector at the telescope of a test set; None if its telescopes differ in it."""
    if not isinstance(setting, Mapping):
        return setting
    telescopes = {load_labelled(folder).facts["telescope"] for folder in test_set.folders}
    at = {for_telescope(setting, telescope, f"{name}: threshold") for telescope in telescopes}
    return at.pop() if len(at) == 1 else None


def _is_pair(a: DetectorRecord, b: DetectorRecord, better: str, other: str) -> bool:
    """Check whether two records are a pair of models in one variant, or a pair of names."""
    return (a.name, b.name) == (better, other) or (a.model, b.model, a.variant) == (better, other, b.variant)


def find_differences(
    scored: Sequence[DetectorScores], pairs: Sequence[Sequence[str]], test_set: TestSet
) -> list[dict[str, Any]]:
    """Compute the difference of each pair.

    Of several partners, only those trained on the same data are compared. Seeds are compared in pairs, unless each
    network has a single one.
    """
    found = []
    for better, other in pairs:
        for a in scored:
            partners = [b for b in scored if b is not a and _is_pair(a.record, b.record, better, other)]
            partners = [b for b in partners if b.record.trained_on == a.record.trained_on] or partners
            for b in partners:
                pair: tuple[DetectorScores, DetectorScores] | None = (a, b)
                if a.seeds and b.seeds:
                    pair = restrict_to_common_seeds(a, b)
                elif (
                    a.seeds
                    or b.seeds
                    or not (a.record.seed == b.record.seed or (_has_one_seed(a, scored) and _has_one_seed(b, scored)))
                ):
                    pair = None
                if pair:
                    found.append(_difference(*pair, test_set))
    return found


def _has_one_seed(one: DetectorScores, scored: Sequence[DetectorScores]) -> bool:
    """Check whether no other seed of a network was scored."""
    return not any(other is not one and other.record.recipe == one.record.recipe for other in scored)


def _difference(a: DetectorScores, b: DetectorScores, test_set: TestSet) -> dict[str, Any]:
    about = {"test_set": test_set.name, "data_origin": test_set.data_origin, "frames": len(test_set.folders)}
    about |= {key: a.scores.content[key] for key in ("pixels", "hits")}
    return about | {"a": a.record, "b": b.record} | difference(a.scores, b.scores)
