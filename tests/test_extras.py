"""Test that a missing package is named with the extra that brings it."""

import re

import pytest

from cosmicgate.extras import extra


def message(name: str) -> str:
    return re.escape(f"the package nowhere is not installed: pip install '.[{name}]' in a clone of cosmicgate") + "$"


def test_a_missing_package_gets_an_error_with_the_extra_of_the_outermost_block():
    with pytest.raises(ModuleNotFoundError, match=f"^{message('label')}") as caught, extra("label"), extra("train"):
        import nowhere.inside  # noqa: F401
    assert caught.value.name == "nowhere"


def test_a_command_ends_with_one_line():
    with pytest.raises(SystemExit, match=f"^error: {message('train')}"), extra("train", "__main__"):
        import nowhere  # noqa: F401


def test_a_missing_module_of_the_package_is_not_taken_for_a_missing_extra():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'cosmicgate\.nowhere'"), extra("train", "__main__"):
        import cosmicgate.nowhere  # noqa: F401
