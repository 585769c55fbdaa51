"""A page that shows an image and its hits, in a notebook or as a file."""

import html
from dataclasses import dataclass
from pathlib import Path

from cosmicgate.io.atomic import atomic_write


@dataclass(frozen=True)
class HtmlPage:
    """A self-contained HTML page that a notebook displays inline.

    Attributes
    ----------
    text : str
        Source of the page, HTML.
    """

    text: str

    def _repr_html_(self) -> str:
        """Show the page in a frame of a notebook."""
        source = html.escape(self.text, quote=True)
        style = "width:100%;height:760px;border:1px solid #888"
        return f'<iframe title="CosmicGate: image and hits" srcdoc="{source}" style="{style}"></iframe>'

    def save(self, path: str | Path) -> None:
        """Write the page to a file, atomically."""
        atomic_write(Path(path), self.text)
