"""Addresses of files: a local path, or the URL of a remote object with the few methods of ``Path`` needed here."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias
from urllib.request import url2pathname

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # at least two letters, as C:// is a drive
LOCAL = ("file", "local")
ALIASES = {"s3a": "s3", "gcs": "gs"}
WEB = ("http", "https")
STORES = ("s3", "gs", "abfs", "abfss", "az")  # object stores: an upload becomes visible only when it is complete
RENAMING = ("memory", "sftp", "ssh")  # a rename replaces the target; elsewhere it mostly copies or fails if it exists
AZURE = ("abfs", "abfss", "az")  # in their URLs the part before @ is a container, not a user
CREDENTIALS = re.compile(r"(?<=//)[^/]*@")  # user, password or token
QUERY = re.compile(r"\?\S*")


@dataclass(frozen=True, order=True)
class Url:
    """URL of a remote object.

    Attributes
    ----------
    text : str
        URL as given, with any signature or password; show ``str(url)``, which leaves these out.
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
        """Scheme: the part before ``://``."""
        return self.text.partition("://")[0]

    @property
    def is_web(self) -> bool:
        """Whether the scheme is http or https, so that a query is not part of the name."""
        return self.scheme in WEB

    @property
    def is_writable(self) -> bool:
        """Whether an object can be written atomically, so that no reader sees a part of it."""
        return self.scheme in (*STORES, *RENAMING)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._bare.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """URL of the folder that contains the object."""
        begin = self._bare.rstrip("/").rpartition("/")[0]
        return Url(f"{begin}/" if begin.endswith(":/") else begin)

    @property
    def _bare(self) -> str:
        """URL without the query of a web address; in other schemes a question mark is an ordinary character."""
        return self.text.partition("?")[0] if self.is_web else self.text

    def without_secrets(self, text: str) -> str:
        """Remove credentials from a text that may contain this URL and, for a web address, queries."""
        text = text if self.scheme in AZURE else CREDENTIALS.sub("", text)
        return QUERY.sub("", text) if self.is_web else text

    def absolute(self) -> "Url":
        """Return the URL itself; it exists for the interface of ``Path``."""
        return self

    def relative_to(self, root: "Url") -> PurePosixPath:
        """Compute the path relative to a folder."""
        return PurePosixPath(self._bare.removeprefix(root.text.rstrip("/")).lstrip("/"))


Address: TypeAlias = Path | Url


def address(text: str) -> Address:
    """Parse a path or URL; ``file://`` and ``local://`` become local paths.

    Raises
    ------
    ValueError
        A ``file://`` URL names another machine.
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
