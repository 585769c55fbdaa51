"""Which frame trains, which validates, which tests: decided once, by name, before anything is mixed."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

T = TypeVar("T")


def split(items: Sequence[T], fractions: Mapping[str, float], rng: np.random.Generator) -> dict[Split, list[T]]:
    """Deal ``items`` to the splits at random, each to one.

    Parameters
    ----------
    items : sequence
        Frames, files or hits, each once.
    fractions : mapping of split to float
        Parts of ``train``, ``validation`` and ``test``; they add up to one. A split with a fraction gets an item.
    rng : numpy Generator
        The same state gives the same split.

    Raises
    ------
    ValueError
        The fractions are no partition, or there are fewer items than splits that want one.
    """
    check_splits(fractions)
    if min(fractions.values(), default=0) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"expected parts of a split that are not negative and add up to 1, got {dict(fractions)}")
    wanted = [name for name in SPLITS if fractions.get(name, 0) > 0]
    if len(items) < len(wanted):
        raise ValueError(f"{len(items)} item(s) cannot be dealt to {', '.join(wanted)} without sharing one")
    counts = {name: max(1, round(fractions[name] * len(items))) for name in wanted}
    largest = max(wanted, key=lambda name: fractions[name])
    counts[largest] += len(items) - sum(counts.values())
    order = [items[i] for i in rng.permutation(len(items))]
    dealt: dict[Split, list[T]] = {name: [] for name in SPLITS}
    for name in wanted:
        dealt[name], order = order[: counts[name]], order[counts[name] :]
    return dealt


def check_splits(mapping: Mapping[str, object]) -> None:
    """Refuse a mapping that has a key which names no split."""
    unknown = sorted(set(mapping) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}: expected {', '.join(SPLITS)}")
