"""Test that each item is in one split, by the seed and the given fractions."""

import numpy as np
import pytest

from cosmicgate.data.splits import SPLITS, split, split_exposures


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("number", [3, 4, 5, 10, 56, 1059])
@pytest.mark.parametrize("fractions", [(0.6, 0.1, 0.3), (0.98, 0.01, 0.01), (0.34, 0.33, 0.33)])
def test_each_item_is_in_one_split_and_no_split_is_empty(number, fractions):
    splits = split(range(number), dict(zip(SPLITS, fractions, strict=True)), generator())
    assert sorted(item for items in splits.values() for item in items) == list(range(number))
    for name, fraction in zip(SPLITS, fractions, strict=True):
        assert len(splits[name]) >= 1
        assert len(splits[name]) == pytest.approx(fraction * number, abs=2)


def test_the_seed_determines_the_splits():
    fractions = {"train": 0.6, "validation": 0.1, "test": 0.3}
    first, again, other = (split(range(50), fractions, generator(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_fields_of_one_sky_are_in_one_split():
    fields = {f"{target}-{band}": 3 for target in ("M13", "M92", "NGC188") for band in "gri"}
    fractions = {"train": 0.4, "validation": 0.3, "test": 0.3}
    splits = split_exposures(fields, fractions, generator(), {name: name.partition("-")[0] for name in fields})
    targets = [{name.partition("-")[0] for name in names} for names in splits.values()]
    assert sum(map(len, targets)) == len(set.union(*targets)) == 3
    one_sky = split_exposures(fields, fractions, generator(), dict.fromkeys(fields, "M13"))
    assert sorted(name for names in one_sky.values() for name in names) == sorted(fields)


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ({"train": 0.7, "tset": 0.3}, "unknown split 'tset': expected train, validation, test"),
        ({"train": 0.7, "test": 0.2}, r"add up to 1, got \{'train': 0.7, 'test': 0.2\}"),
        ({"train": 1.2, "test": -0.2}, "not negative"),
        ({}, r"add up to 1, got \{\}"),
        ({"train": 0.4, "validation": 0.3, "test": 0.3}, r"cannot split 2 item\(s\) into train, validation, test"),
    ],
)
def test_invalid_fractions_are_refused(fractions, expected):
    with pytest.raises(ValueError, match=expected):
        split(["a", "b"], fractions, generator())
