"""Where a file is: a path of this machine, or the URL of an object elsewhere. A URL does what names need of a path."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters at least: C:// is a disk
LOCAL = ("file", "local")
ALIASES = {"s3a": "s3", "gcs": "gs"}
READ_ONLY = ("http", "https")
PASSWORD = re.compile(r"(?<=//)[^/@]*:[^/@]*@")


@dataclass(frozen=True, order=True)
class Url:
    """Where an object is.

    Attributes
    ----------
    text : str
        The URL as it was given; signed ones and passwords are in it, so it is ``str(url)`` that is shown.
    """

    text: str

    def __str__(self) -> str:
        """Return the URL without what may be secret: a password, and the query of a web address."""
        return PASSWORD.sub("", self._bare)

    def __truediv__(self, more: str | PurePath) -> "Url":
        below = more if isinstance(more, str) else more.as_posix()
        return self if below == "." else Url(f"{self._bare.rstrip('/')}/{below}")

    @property
    def scheme(self) -> str:
        """What stands before ``://``, in small letters."""
        return self.text.partition("://")[0]

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written there."""
        return self.scheme in READ_ONLY

    @property
    def name(self) -> str:
        """The last part."""
        return self._bare.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """What the last part is in."""
        return Url(self._bare.rstrip("/").rpartition("/")[0])

    @property
    def _bare(self) -> str:
        """Without the query of a web address; elsewhere a question mark is a letter like others."""
        return self.text.partition("?")[0] if self.is_read_only else self.text

    def absolute(self) -> "Url":
        """Return the URL itself, which is the same from everywhere."""
        return self

    def relative_to(self, root: "Url") -> PurePosixPath:
        """Return the way from a folder to here."""
        return PurePosixPath(self._bare.removeprefix(root.text.rstrip("/")).lstrip("/"))


Address: TypeAlias = Path | Url


def address(text: str) -> Address:
    """Return where a file is, of what somebody typed; ``file://`` is a path like any other."""
    found = SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    return Path(rest) if scheme in LOCAL else Url(f"{ALIASES.get(scheme, scheme)}://{rest}")
