"""A page as its reader takes it: links, headings, blocks of code, commands."""

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
    """A fenced block.

    Attributes
    ----------
    language : str
        ``python``, ``sh``, ``yaml``, ``text``; empty for commands that are not run.
    file : str
        What it names at its top, ``# conf/model/plain.yaml``: the block is that file. Else empty.
    reason : str
        Why it is not run (``<!-- not run: ... -->`` before it); empty if it is.
    """

    language: str
    code: str
    reason: str

    @property
    def file(self) -> str:
        named = re.match(
            r"(?:# @package .*\n)?# ([\w/.-]+\.(?:py|yaml))\n", self.code
        )  # Hydra wants its own line first
        return named[1] if named else ""


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, from its top."""
    found = FENCE.finditer(page.read_text())
    return [Block(match["language"], match["code"], match["reason"] or "") for match in found]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return where a page's links lead, those to other servers left out."""
    return [link for link in LINK.findall(prose(page)) if not re.match(r"\w+:", link)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """Return the words of each command of a page, in a block or in a sentence, without assignments before it."""
    lines = [
        line for b in blocks(page) if b.language in ("", "sh") for line in b.code.replace("\\\n", " ").splitlines()
    ]
    for line in lines + re.findall(r"`([^`]+)`", prose(page)):
        try:
            words = shlex.split(re.sub(r"(?<==)\$[A-Z_]+", "0", line), comments=True)  # a number
        except ValueError:  # half of a quotation: no command
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if len(words) > 1 and words[0] in COMMANDS:
            yield words
