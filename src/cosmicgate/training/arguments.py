"""Explain arguments that Hydra would refuse with a message that does not help."""

import shlex
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cosmicgate.config import hint_for_unknown_name

# Config groups at the top of conf/; those below them have a slash.
GROUPS = (
    *("data", "model", "module", "callbacks", "trainer", "logger", "pretrained", "experiment", "sweep", "debug"),
    *("detector", "evaluation"),
)


def typed(key: str, value: str) -> str:
    """Format an override with a string value, in Hydra's quotes where its grammar needs them."""
    plain = f"{key}={value}"
    try:
        if str(OverridesParser.create().parse_override(plain).value()) == value:
            return plain
    except HydraException:
        pass
    escaped = value.replace('"', '\\"')
    return f'{key}="{escaped}"'


def explain_arguments(main: Callable[[], Any]) -> Callable[[], Any]:
    """Explain arguments that Hydra would refuse with a message that does not help.

    These are values that need quotes, such as older run folders, and keys and choices with another name here.
    """

    @wraps(main)
    def explained() -> Any:
        for word in sys.argv[1:]:
            if found := unquoted(word) or renamed(word) or without_file(word):
                sys.exit(f"error: {found}")
        return main()

    return explained


def renamed(word: str) -> str:
    """Name what the key of an argument, or one of the choices in it, is called here; empty if it has that name."""
    key, _, value = word.lstrip("+~").partition("=")
    names = [key, *(f"{key.partition('@')[0]}={choice.strip(' []')}" for choice in value.split(","))]
    return next((f"{word}: {said}" for name in names if (said := hint_for_unknown_name(name))), "")


def without_file(word: str) -> str:
    """Explain how to leave out a file of a config group, for an argument that gives it no name; else empty."""
    key, equals, value = word.lstrip("+").partition("=")
    group = key.partition("@")[0]
    if not equals or value not in ("null", "false", "true") or not (group in GROUPS or "/" in group):
        return ""
    if group == "logger":
        return f"{word}: expected the name of a file in conf/logger: logger=csv, which needs no account"
    return f"{word}: expected the name of a file in conf/{group}; without one, if it can be left out: '~{key}'"


def unquoted(word: str) -> str:
    """Explain how to quote an argument that Hydra cannot parse because its value contains ``=``; else empty."""
    key, _, value = word.partition("=")
    if word.startswith("-") or "=" not in value:
        return ""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        example = shlex.quote(typed(key, value)) if not set(value) & set("'\"[]{}") else f"{key}='[\"a=b/c\"]'"
        return f"{word}: a value that contains '=' must be quoted: {example}"
    return ""
