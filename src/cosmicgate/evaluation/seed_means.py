"""Average the scores of several trainings of one network that differ in their seed, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from cosmicgate.data.random_streams import random_stream
from cosmicgate.detectors import Setting
from cosmicgate.evaluation.bootstrap import interval
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.evaluation.scores import TestSetScores, to_json

SEED = 1
# Upper limit of a score; that of all others is 1.
MAX_SCORE = {
    "false_per_megapixel": np.inf,
    "stars_masked_per_1000": 1000.0,
    "hot_pixels_masked_per_megapixel": np.inf,
}


@dataclass(frozen=True, eq=False)
class DetectorScores:
    """Scores of one detector, or of the mean over several seeds of a network, on one test set."""

    record: DetectorRecord
    threshold: Setting
    scores: TestSetScores
    seeds: Mapping[int, TestSetScores] = field(default_factory=dict)  # of a mean: seed -> scores of that training


def means(scored: Sequence[DetectorScores]) -> list[DetectorScores]:
    """Compute the mean of each network of which several seeds were scored."""
    groups: dict[tuple[str, str, str | None], dict[int, DetectorScores]] = {}
    for one in scored:
        if one.record.seed is not None:
            groups.setdefault(one.record.recipe, {})[one.record.seed] = one
    return [
        _mean(next(iter(group.values())), {seed: one.scores for seed, one in group.items()})
        for group in groups.values()
        if len(group) > 1
    ]


def _mean(of: DetectorScores, seeds: Mapping[int, TestSetScores]) -> DetectorScores:
    record = replace(of.record, seed=None, seeds=len(seeds), weights=None)
    return DetectorScores(record, of.threshold, mean([seeds[number] for number in sorted(seeds)]), seeds)


def restrict_to_common_seeds(a: DetectorScores, b: DetectorScores) -> tuple[DetectorScores, DetectorScores] | None:
    """Restrict two means to the seeds that both have; None if these are fewer than two.

    A seed also determines the order of the crops, so only trainings with the same seed can be compared in pairs.
    """
    both = a.seeds.keys() & b.seeds.keys()
    if len(both) < 2:
        return None
    first, second = (_mean(one, {seed: one.seeds[seed] for seed in both}) for one in (a, b))
    return first, second


def mean(seeds: Sequence[TestSetScores]) -> TestSetScores:
    """Average scores over seeds, with intervals that include the scatter of both frames and seeds.

    An error of the mean over seeds, drawn from Student's t distribution, is added to each bootstrap sample of the
    frames. With two or three seeds the scatter itself is poorly known, and the intervals are accordingly wide. They are
    clipped to the possible range of a score.

    ``content`` has, besides the means, ``seeds`` (their number) and ``spread``: part -> score -> [lowest, highest].
    """
    first = seeds[0]
    values = {
        part: {k: float(np.mean([s.values[part][k] for s in seeds])) for k in first.values[part]}
        for part in first.values
    }
    number = first.content["intervals"]["draws"]
    errors = _student_weights(len(seeds), number)
    samples = {
        part: {
            key: _with_seed_error(np.stack([s.samples[part][key] for s in seeds]), errors)
            for key in first.samples[part]
        }
        for part in first.samples
    }
    content: dict[str, Any] = {
        name: first.content[name] for name in ("frames", "fields", "pixels", "hits") if name in first.content
    }
    content |= {part: to_json(scores) for part, scores in values.items()}
    content["intervals"] = {
        part: {key: interval(d.clip(0, MAX_SCORE.get(key, 1.0))) for key, d in samples[part].items()}
        for part in samples
    }
    content["intervals"]["draws"] = number
    content["curves"] = None
    content["seeds"] = len(seeds)
    content["spread"] = {
        part: {key: _ends([s.values[part][key] for s in seeds]) for key in values[part]} for part in values
    }
    return TestSetScores(content, values, samples)


def _student_weights(seeds: int, samples: int) -> NDArray[np.float64]:
    """Draw weights (samples, seeds) that turn scores of seeds into t-distributed errors of their mean.

    The weights are the same for every network, so that the difference of two means is paired by seed.
    """
    rng = random_stream("seeds", SEED, seeds)
    weights = rng.standard_normal((samples, seeds))
    weights -= weights.mean(axis=1, keepdims=True)
    evenly = (rng.permutation(samples)[:, None] + 0.5) / samples  # less noise in the tails than random numbers
    scale = np.sqrt((seeds - 1) / chi2.ppf(evenly, seeds - 1))
    return np.asarray(scale * weights / np.sqrt(seeds * (seeds - 1)))


def _with_seed_error(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the error of the seeds' mean to samples (seeds, samples), by weights (samples, seeds): (samples,)."""
    mean = scores.mean(axis=0)
    return np.asarray(mean + np.sum(weights.T * (scores - mean), axis=0))


def _ends(values: Sequence[float]) -> list[float] | None:
    return [min(values), max(values)] if np.isfinite(values).all() else None
