"""Split frames into training, validation and test sets, before any frames are combined."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

T = TypeVar("T")


def split(items: Sequence[T], fractions: Mapping[str, float], rng: np.random.Generator) -> dict[Split, list[T]]:
    """Assign each item to one split at random.

    Parameters
    ----------
    items : sequence
        Frames, files or hits, without repetition.
    fractions : mapping of split to float
        Fractions of ``train``, ``validation`` and ``test``, which add up to one. A split with a fraction above 0 gets
        at least one item.
    rng : numpy Generator
        Source of randomness: the same state gives the same split.

    Returns
    -------
    dict of split to list
        The items of every split; empty for a split without a fraction.

    Raises
    ------
    ValueError
        If a fraction is negative, they do not add up to one, or there are fewer items than splits that need one.
    """
    check_splits(fractions)
    if min(fractions.values(), default=0) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"expected fractions that are not negative and add up to 1, got {dict(fractions)}")
    wanted = [name for name in SPLITS if fractions.get(name, 0) > 0]
    if len(items) < len(wanted):
        raise ValueError(f"cannot split {len(items)} item(s) into {', '.join(wanted)}: each split needs at least one")
    counts = {name: max(1, round(fractions[name] * len(items))) for name in wanted}
    largest = max(wanted, key=lambda name: fractions[name])
    counts[largest] += len(items) - sum(counts.values())
    order = [items[i] for i in rng.permutation(len(items))]
    result: dict[Split, list[T]] = {name: [] for name in SPLITS}
    for name in wanted:
        result[name], order = order[: counts[name]], order[counts[name] :]
    return result


def split_exposures(
    fields: Mapping[str, int],
    fractions: Mapping[str, float],
    rng: np.random.Generator,
    skies: Mapping[str, str] | None = None,
) -> dict[Split, dict[str, list[int]]]:
    """Assign skies to splits; where there are fewer than three, fields; where these are too few, their exposures.

    Parameters
    ----------
    fields : mapping of str to int
        Number of exposures of each field.
    fractions, rng
        As in :func:`split`.
    skies : mapping of str to str, optional
        Name of the sky of each field, which several may show, in other filters for example. None: each has its own.

    Returns
    -------
    dict of split to dict
        For each split: name of a field -> numbers of its exposures, counted from 0.
    """
    by_field = {name: [(name, number) for number in range(count)] for name, count in fields.items()}
    by_sky: dict[str, list[tuple[str, int]]] = {}
    for name, members in by_field.items():
        by_sky.setdefault((skies or {}).get(name, name), []).extend(members)
    exposures = [[item] for members in by_field.values() for item in members]
    choices = ([*by_sky.values()], [*by_field.values()], exposures)
    groups = next((one for one in choices if len(one) >= len(SPLITS)), exposures)
    result: dict[Split, dict[str, list[int]]] = {}
    for which, chosen in split(groups, fractions, rng).items():
        result[which] = {}
        for name, number in sorted(item for members in chosen for item in members):
            result[which].setdefault(name, []).append(number)
    return result


def check_splits(mapping: Mapping[str, object]) -> None:
    """Raise ValueError if a key of the mapping is not the name of a split."""
    unknown = sorted(set(mapping) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}: expected {', '.join(SPLITS)}")


def frames_by_split(data: Any) -> dict[Split, list[str]]:
    """List the names of the labelled frames of each split of a data module, for the record of a training."""
    return {which: sorted({folder.name for folder in data.split(which)}) for which in SPLITS}


def without_hash(frames: Iterable[str]) -> set[str]:
    """Remove the hash of a frame's settings, and of the state of its files, from the names of labelled frames."""
    return {name.rpartition("-")[0] for name in frames}
