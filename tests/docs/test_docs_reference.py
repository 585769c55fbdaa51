"""The reference lists names that exist and have a docstring."""

import re
from importlib import import_module

import pytest

from conftest import ROOT


def listed():
    """Return (module, name) of every entry of the reference."""
    for page in sorted((ROOT / "docs" / "api").glob("*.rst")):
        for part in re.split(r"^\.\. currentmodule:: ", page.read_text(), flags=re.M)[1:]:
            module, entries = part.split("\n", 1)
            yield from ((module, name) for name in re.findall(r"^   (\w+)$", entries, re.M))


@pytest.mark.parametrize(("module", "name"), list(listed()))
def test_an_entry_of_the_reference_exists_and_is_documented(module, name):
    assert getattr(import_module(module), name).__doc__
