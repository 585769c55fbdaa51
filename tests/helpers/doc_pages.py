"""Read the links, headings, code blocks and commands of a Markdown page."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = ("python", "cosmicgate", "make")


@dataclass(frozen=True)
class Block:
    """Hold a fenced code block of a page.

    Attributes
    ----------
    language : str
        ``python``, ``sh``, ``yaml``, ``text``; empty for commands that are not run.
    file : str
        File named in its first line, ``# conf/model/plain.yaml``: the block is that file. Else empty.
    reason : str
        Reason for not running it (``<!-- not run: ... -->`` before it); empty if it is.
    """

    language: str
    code: str
    reason: str

    @property
    def file(self) -> str:
        named = re.match(
            r"(?:# @package .*\n)?# ([\w/.-]+\.(?:py|yaml))\n", self.code
        )  # Hydra requires its own line first
        return named[1] if named else ""


def blocks(page: Path) -> list[Block]:
    """List the fenced blocks of a page in order."""
    found = FENCE.finditer(page.read_text())
    return [Block(match["language"], match["code"], match["reason"] or "") for match in found]


def prose(page: Path) -> str:
    """Strip the fenced blocks from a page."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """List the targets of a page's links inside the repository."""
    return [link for link in LINK.findall(prose(page)) if not re.match(r"\w+:", link)]


def anchors(page: Path) -> set[str]:
    """List the anchors that renderers generate for a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield each command of a page, in blocks and inline, split into words and without leading assignments."""
    lines = [
        line for b in blocks(page) if b.language in ("", "sh") for line in b.code.replace("\\\n", " ").splitlines()
    ]
    for line in lines + re.findall(r"`([^`]+)`", prose(page)):
        try:
            words = shlex.split(re.sub(r"(?<==)\$[A-Z_]+", "0", line), comments=True)  # a number
        except ValueError:  # an unclosed quotation mark: no command
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if len(words) > 1 and words[0] in COMMANDS:
            yield words
