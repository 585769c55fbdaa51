"""Several trainings of one network, which differ in their seed: their mean, and how far it would move."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.detectors import Detector
from cosmicgate.evaluation.bootstrap import interval
from cosmicgate.evaluation.scoring import Scored, plain

SEED = 1
HIGHEST = {"false_per_megapixel": np.inf}  # of a score; 1 of all others
OF_A_SEED = re.compile(r"(?P<network>.+), seed (?P<seed>\d+)$")


@dataclass(frozen=True)
class Mean:
    """What a row of a table says of a detector, here of several."""

    title: str
    trained_on: str | None
    threshold: float
    seeds: Mapping[int, Scored] = field(default_factory=dict)  # each of its trainings


def means(scored: Sequence[tuple[Detector, Scored]]) -> list[tuple[Mean, Scored]]:
    """Return the mean of each network of which several seeds were scored (titles ``NAME, seed N``)."""
    groups: dict[tuple[str, str | None], dict[int, tuple[Detector, Scored]]] = {}
    for detector, one in scored:
        if named := OF_A_SEED.match(detector.title):
            groups.setdefault((named["network"], detector.trained_on), {})[int(named["seed"])] = (detector, one)
    return [
        _mean(network, trained_on, next(d.threshold for d, _ in group.values()), {n: s for n, (_, s) in group.items()})
        for (network, trained_on), group in groups.items()
        if len(group) > 1
    ]


def _mean(network: str, trained_on: str | None, threshold: float, seeds: Mapping[int, Scored]) -> tuple[Mean, Scored]:
    title = f"{network}, mean of {len(seeds)} seeds"
    return Mean(title, trained_on, threshold, seeds), mean([seeds[number] for number in sorted(seeds)])


def in_common(a: Mean, b: Mean) -> tuple[tuple[Mean, Scored], tuple[Mean, Scored]] | None:
    """Return two means over the seeds that both have; None if these are fewer than two.

    A seed draws the order of the crops, too: what two networks do with one seed is a pair, and other seeds are none.
    """
    both = a.seeds.keys() & b.seeds.keys()
    if len(both) < 2:
        return None
    first, second = (
        _mean(one.title.rpartition(", mean of")[0], one.trained_on, one.threshold, {n: one.seeds[n] for n in both})
        for one in (a, b)
    )
    return first, second


def mean(seeds: Sequence[Scored]) -> Scored:
    """Return the mean score; each draw of the frames draws the seeds again as well, so that intervals hold both.

    N seeds drawn from N scatter by (N - 1) / N of the variance that seeds have: the draws are spread by as much, though
    not beyond what a score can be.

    ``content`` has, beside the means, ``seeds`` (how many) and ``spread``: part -> score -> [lowest, highest].
    """
    first = seeds[0]
    values = {
        part: {k: float(np.mean([s.values[part][k] for s in seeds])) for k in first.values[part]}
        for part in first.values
    }
    number = first.content["intervals"]["draws"]
    chosen = np.random.default_rng([SEED, len(seeds)]).integers(0, len(seeds), (number, len(seeds)))
    draws = {
        part: {
            key: _drawn(np.stack([s.draws[part][key] for s in seeds]), chosen).clip(0, HIGHEST.get(key, 1.0))
            for key in first.draws[part]
        }
        for part in first.draws
    }
    content: dict[str, Any] = {name: first.content[name] for name in ("frames", "pixels", "hits")}
    content |= {part: plain(scores) for part, scores in values.items()}
    content["intervals"] = {part: {key: interval(d) for key, d in draws[part].items()} for part in draws}
    content["intervals"]["draws"] = number
    content["curves"] = None
    content["seeds"] = len(seeds)
    content["spread"] = {
        part: {key: _ends([s.values[part][key] for s in seeds]) for key in values[part]} for part in values
    }
    return Scored(content, values, draws)


def _drawn(draws: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """(seeds, draws), and which seeds each draw takes (draws, seeds) -> their mean (draws,)."""
    of_all, number = draws.mean(axis=0), len(draws)
    moved = draws[chosen, np.arange(draws.shape[1])[:, None]].mean(axis=1) - of_all
    return np.asarray(of_all + np.sqrt(number / (number - 1)) * moved)


def _ends(values: Sequence[float]) -> list[float] | None:
    return [min(values), max(values)] if np.isfinite(values).all() else None
