"""Assemble the page from its parts in this package: one HTML text that requests nothing from other machines."""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cosmicgate.io.atomic import escape_undecodable

PAGE_FOLDER = Path(__file__).parent / "page"
# In the order in which they run; they share their names, as scripts of a page do.
SCRIPTS = (
    *("arrays.js", "sources.js", "images.js", "hits.js", "threshold.js", "tiles.js", "drawing.js", "labels.js"),
    *("layers.js", "controls.js", "start.js"),
)


@cache
def _part(name: str) -> str:
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def policy(connect: str) -> str:
    """Write the Content-Security-Policy of the page, which lets it run its own scripts and style alone.

    Parameters
    ----------
    connect : str
        Where the page may send requests to: ``"'self'"`` or ``"'none'"``.
    """
    *scripts, style = (
        f"'sha256-{base64.b64encode(hashlib.sha256(_part(name).encode()).digest()).decode()}'"
        for name in (*SCRIPTS, "page.css")
    )
    return (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {style}; img-src data:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def page(content: Mapping[str, Any] | None = None, title: str = "CosmicGate") -> str:
    """Assemble the page.

    Parameters
    ----------
    content : mapping, optional
        What a page without a server shows (:func:`cosmicgate.viewer.static.static_content`); None: a server is asked.
    title : str
        Title of the window.
    """
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "policy": policy("'self'" if content is None else "'none'"),
        "title": escape_undecodable(title).replace("&", "&amp;").replace("<", "&lt;"),
        "style": _part("page.css"),
        "scripts": "\n".join(f"<script>{_part(name)}</script>" for name in SCRIPTS),
        "content": data,
    }
    before, *rest = _part("page.html").split("{{")
    pieces = [before]
    for piece in rest:
        name, _, after = piece.partition("}}")
        pieces += [parts[name.strip()], after]
    return "".join(pieces)
