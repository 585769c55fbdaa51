"""Where a file is: a path of this machine, or the URL of an object elsewhere. A URL does what names need of a path."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias
from urllib.request import url2pathname

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters at least: C:// is a disk
LOCAL = ("file", "local")
ALIASES = {"s3a": "s3", "gcs": "gs"}
WEB = ("http", "https")
STORES = ("s3", "gs", "abfs", "abfss", "az")  # where an object appears when all of it is there
RENAMING = ("memory", "sftp", "ssh")  # where a rename replaces; of most others it is a copy, or refuses what is there
AZURE = ("abfs", "abfss", "az")  # what stands before their @ is a container
WHO = re.compile(r"(?<=//)[^/]*@")  # a user, a password, a token
QUERY = re.compile(r"\?\S*")


@dataclass(frozen=True, order=True)
class Url:
    """Where an object is.

    Attributes
    ----------
    text : str
        The URL as it was given; signatures and passwords are in it, so it is ``str(url)`` that is shown.
    """

    text: str

    def __str__(self) -> str:
        return self.without_secrets(self.text)

    def __truediv__(self, more: str | PurePath) -> "Url":
        below = more if isinstance(more, str) else more.as_posix()
        begin = self._bare if self._bare.endswith("://") else f"{self._bare.rstrip('/')}/"
        return self if below == "." else Url(begin + below)

    @property
    def scheme(self) -> str:
        """What stands before ``://``, in small letters."""
        return self.text.partition("://")[0]

    @property
    def is_web(self) -> bool:
        """Whether it is a web address: its query is no part of the name."""
        return self.scheme in WEB

    @property
    def is_writable(self) -> bool:
        """Whether an object can be written there so that it is never seen half."""
        return self.scheme in (*STORES, *RENAMING)

    @property
    def name(self) -> str:
        """The last part."""
        return self._bare.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """What the last part is in."""
        begin = self._bare.rstrip("/").rpartition("/")[0]
        return Url(f"{begin}/" if begin.endswith(":/") else begin)

    @property
    def _bare(self) -> str:
        """Without the query of a web address; elsewhere a question mark is a letter like others."""
        return self.text.partition("?")[0] if self.is_web else self.text

    def without_secrets(self, text: str) -> str:
        """Return a text that may have this URL in it without who asks, and of a web address without queries."""
        text = text if self.scheme in AZURE else WHO.sub("", text)
        return QUERY.sub("", text) if self.is_web else text

    def absolute(self) -> "Url":
        """Return the URL itself, which is the same from everywhere."""
        return self

    def relative_to(self, root: "Url") -> PurePosixPath:
        """Return the way from a folder to here."""
        return PurePosixPath(self._bare.removeprefix(root.text.rstrip("/")).lstrip("/"))


Address: TypeAlias = Path | Url


def address(text: str) -> Address:
    """Return where a file is, of what somebody typed; ``file://`` is a path of this machine.

    Raises
    ------
    ValueError
        A ``file://`` names another machine.
    """
    found = SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme not in LOCAL:
        return Url(f"{ALIASES.get(scheme, scheme)}://{rest}")
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost"):
        raise ValueError(f"{text}: expected {scheme}:///PATH or {scheme}://localhost/PATH, got the host {host!r}")
    return Path(url2pathname(slash + path))
