"""Judge detectors on test sets, frame by frame; then the scores of every table, and what differs between detectors."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm.auto import tqdm

from cosmicgate.data.decam import TestSet
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.judging import finished, read_result
from cosmicgate.evaluation.scoring import Scored, difference, score
from cosmicgate.evaluation.seeds import Mean, in_common, means

log = logging.getLogger(__name__)


def evaluate(detectors: Sequence[Detector], test_sets: Sequence[TestSet], kept: Path) -> list[dict[str, Any]]:
    """Return a row of ``results.json`` for each test set and detector; whatever one of them raises is raised.

    Parameters
    ----------
    detectors, test_sets
        Every one on every other. Of a frame, counts are kept and no pixels: memory does not grow with their number.
    kept : Path
        Folder of finished (detector, frame) results: an evaluation that was stopped goes on behind them.
    """
    return [row(judged(d, test_set, kept), d, test_set) for test_set in test_sets for d in detectors]


def compare(
    detectors: Sequence[Detector], test_sets: Sequence[TestSet], kept: Path, pairs: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Return the content of ``results.json``; a detector that raises loses its own row and no other.

    Parameters
    ----------
    detectors, test_sets, kept
        As in :func:`evaluate`.
    pairs : sequence of (str, str)
        Titles of two detectors whose difference is wanted, the one that should be better first. One ending behind
        both, `` (released)`` say, is a pair too. Of several seeds, the mean of each network is a row and a pair.

    Returns
    -------
    dict
        ``rows``; and, where there are any, ``differences`` and ``failed`` (test_set, detector, reason).
    """
    rows, differences, failed = [], [], []
    for test_set in test_sets:
        scored: list[tuple[Detector, Scored]] = []
        for detector in detectors:
            try:
                scored.append((detector, judged(detector, test_set, kept)))
            except Exception as error:  # a foreign package may raise anything; the other rows must still come out
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                log.error("%s on %s failed: %s", detector.title, test_set.name, reason)
                log.debug("traceback", exc_info=error)
                failed.append({"test_set": test_set.name, "detector": detector.title, "reason": reason})
        together: list[tuple[Detector | Mean, Scored]] = [*scored, *means(scored)]
        rows += [row(s, detector, test_set) for detector, s in together]
        differences += _differences(together, pairs, test_set)
    _tell_missing(pairs, differences, [row["detector"] for row in rows if row["trained_on"]])
    return {"rows": rows} | {key: found for key, found in (("differences", differences), ("failed", failed)) if found}


def _tell_missing(pairs: Sequence[Sequence[str]], differences: Sequence[dict[str, Any]], titles: Sequence[str]) -> None:
    """Say which pairs were not compared, where more than one title is that of a trained network."""
    found = [
        f"{better!r} - {other!r}"
        for better, other in pairs
        if not any(d["a"].startswith(better) and d["b"].startswith(other) for d in differences)
    ]
    if found and len(set(titles)) > 1:
        names = ", ".join(dict.fromkeys(titles))
        log.warning("not compared: %s: no two rows here have such titles (%s)", "; ".join(found), names)


def judge_together(detector: Detector, test_sets: Sequence[TestSet], kept: Path, trainer: pl.Trainer) -> None:
    """Run a detector on this process's share of the frames and wait for the others; :func:`evaluate` finds all done."""
    if trainer.world_size > 1:
        frames = [folder for test_set in test_sets for folder in test_set.folders]
        for folder in frames[trainer.global_rank :: trainer.world_size]:
            finished(detector, folder, kept)
        trainer.strategy.barrier()


def judged(detector: Detector, test_set: TestSet, kept: Path) -> Scored:
    """Score a detector on a test set."""
    progress = tqdm(test_set.folders, desc=f"{detector.title} on {test_set.name}", unit="frame")
    return score([read_result(finished(detector, folder, kept)) for folder in progress])


def row(scored: Scored, detector: Detector | Mean, test_set: TestSet) -> dict[str, Any]:
    """Return a row of ``results.json``: what was scored, and its scores."""
    return {
        "test_set": test_set.name,
        "provenance": test_set.provenance,
        "detector": detector.title,
        "trained_on": detector.trained_on,
        "threshold": detector.threshold,
        **({"weights": weights} if (weights := getattr(detector, "weights", None)) else {}),
    } | scored.content


def _whatever_seeds(title: str) -> str:
    """Return a title without the number of seeds of a mean: a job that failed leaves fewer to one network."""
    return re.sub(r"mean of \d+ seeds$", "mean", title)


def _differences(
    scored: Sequence[tuple[Detector | Mean, Scored]], pairs: Sequence[Sequence[str]], test_set: TestSet
) -> list[dict[str, Any]]:
    """Return an entry for each pair; of several with one title, those that were trained on the same data."""
    found = []
    for better, other in pairs:
        for a, a_scored in scored:
            partners = [
                (b, b_scored)
                for b, b_scored in scored
                if b is not a
                and a.title.startswith(better)
                and _whatever_seeds(b.title) == other + _whatever_seeds(a.title.removeprefix(better))
            ]
            alike = [(b, b_scored) for b, b_scored in partners if b.trained_on == a.trained_on]
            for b, b_scored in alike or partners:
                pair: Any = ((a, a_scored), (b, b_scored))
                if isinstance(a, Mean) and isinstance(b, Mean):
                    pair = in_common(a, b)
                if pair:
                    found.append(_difference(pair[0], pair[1], test_set))
    return found


def _difference(
    first: tuple[Detector | Mean, Scored], second: tuple[Detector | Mean, Scored], test_set: TestSet
) -> dict[str, Any]:
    (a, a_scored), (b, b_scored) = first, second
    about = {"test_set": test_set.name, "provenance": test_set.provenance, "frames": len(test_set.folders)}
    about |= {"a": a.title, "b": b.title, "trained_on": [a.trained_on, b.trained_on]}
    return about | difference(a_scored, b_scored)
