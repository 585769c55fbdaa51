"""Test that the API reference lists names that exist and have a docstring."""

import re
from importlib import import_module

import pytest

from helpers.repository import ROOT


def reference_entries():
    """Yield (module, name) of every entry of the reference."""
    for page in sorted((ROOT / "docs" / "api").glob("*.rst")):
        for part in re.split(r"^\.\. currentmodule:: ", page.read_text(), flags=re.M)[1:]:
            module, entries = part.split("\n", 1)
            yield from ((module, name) for name in re.findall(r"^   (\w+)$", entries, re.M))


@pytest.mark.parametrize(("module", "name"), list(reference_entries()))
def test_every_entry_of_the_reference_exists_and_has_a_docstring(module, name):
    assert getattr(import_module(module), name).__doc__
