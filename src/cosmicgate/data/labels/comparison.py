"""Label your own telescope's data: masks of hits from three or more exposures of one field, compared with each other.

    python -m cosmicgate.data.labels.comparison FRAME FRAME FRAME [-o OUT_masks.fits] [--seed 5 --grow 2.5 ...]

Each frame stays in its own pixels. What the others lead one to expect there is brought to them, and what exceeds it is
a hit: a star is in all exposures, a hit in one. The file is of the layout of the LCO data set.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.config import one_sentence
from cosmicgate.data.clean import SQUARE
from cosmicgate.data.fits.frames import read_frame
from cosmicgate.data.fits.hdus import opened, stem
from cosmicgate.data.fits.images import chosen
from cosmicgate.data.fits.instruments import KEYWORDS
from cosmicgate.data.labels.alignment import Alignment, How
from cosmicgate.data.labels.expected import Level, expectation, find_sources, flux_ratio
from cosmicgate.data.lco.masked_fits import (
    ENDING,
    HOT,
    NO_DATA,
    SOURCE,
    Exposure,
    MaskedSequence,
    border,
    write_sequence,
)

Mask = NDArray[np.bool_]
ALIKE = 0.05  # exposure times may differ by this part, as in the LCO data set
MOST = 0.02  # a larger part of the pixels is no longer cosmic rays, but frames that do not match


@dataclass(frozen=True, eq=False)
class View:
    """A frame beside the others: its excess (H, W) in deviations, what is not known, what belongs to sources."""

    excess: NDArray[np.float32]
    unknown: Mask
    source: Mask
    catalogue: NDArray[np.void]


@dataclass(frozen=True)
class Comparison:
    """How hits are told from what is in all exposures.

    Attributes
    ----------
    seed : float
        A pixel that exceeds its expectation by more deviations is a hit.
    grow : float
        So is one near it that exceeds it by this many.
    dilation : int
        How near, pixels.
    min_size : int
        Pixels of a hit. Smaller ones cannot be told from a hot pixel that flickers: IGNORE marks them.
    sources : float
        Deviations of the sky above which the frames' median is a source: there nothing is labelled.
    margin : int
        Pixels around a source that are left out with it.
    edge : int
        Pixels at each border that are left out; 100 in the LCO data set.
    allowance : float
        Part of a source's light that may come and go with the seeing: it counts as noise.
    align : {"auto", "wcs", "stars"}
        As in :class:`~cosmicgate.data.labels.alignment.Alignment`.
    """

    seed: float = 5.0
    grow: float = 2.5
    dilation: int = 1
    min_size: int = 2
    sources: float = 2.0
    margin: int = 2
    edge: int = 10
    allowance: float = 0.2
    align: How = "auto"

    def __post_init__(self) -> None:
        if not self.seed >= self.grow > 0:
            raise ValueError(f"seed={self.seed}, grow={self.grow}: expected seed >= grow > 0")
        for name, least in {"dilation": 0, "min_size": 1, "sources": 1, "margin": 0, "edge": 0, "allowance": 0}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)}: expected {least} or more")

    def __call__(self, exposures: Sequence[Exposure]) -> MaskedSequence:
        """Return the exposures with masks of their hits.

        Raises
        ------
        ValueError
            There are fewer than three, they are not alike, or cannot be aligned; names the exposure.
        """
        check_alike(exposures)
        frames = [exposure.frame for exposure in exposures]
        levels = [Level.of(frame) for frame in frames]
        signals, names = [level.signal for level in levels], [frame.name for frame in frames]
        noises, headers = [level.noise for level in levels], [exposure.header for exposure in exposures]
        align = Alignment(signals, noises, headers, names, self.align)
        times = [frame.exptime for frame in frames]
        views = [self._view(levels, align, times, number) for number in range(len(levels))]
        # A hot pixel is high in every frame, at the same place of the detector.
        excess = np.stack([view.excess for view in views])
        hot = np.asarray((excess > self.grow).all(axis=0) & (excess > self.seed).any(axis=0))
        masks = [self._masks(view, hot, name) for view, name in zip(views, names, strict=True)]
        hits, ignore = zip(*masks, strict=True)
        return MaskedSequence(tuple(exposures), hits, ignore, views[len(views) // 2].catalogue)

    def _view(self, levels: Sequence[Level], align: Alignment, times: Sequence[float], to: int) -> View:
        """Compare a frame with the others, which are brought to its pixels and its brightness."""
        mine = levels[to]
        stack, variances = [], []
        for number, level in enumerate(levels):
            if number != to:
                moved = align(number, to)
                ratio = flux_ratio(mine.signal, moved, mine.noise, times[to] / times[number])
                stack.append(moved * np.float32(ratio))
                variances.append(level.variance * np.float32(ratio**2))
        expected, variance, number_known = expectation(np.stack(stack), np.stack(variances))
        light = np.maximum(expected, 0)
        seeing = self.allowance * ndimage.maximum_filter(light, 3)
        noise = np.sqrt(variance + mine.variance + light + seeing**2)
        unknown = (number_known < 2) | ~np.isfinite(mine.signal)
        excess = np.where(unknown, 0, (mine.signal - expected) / noise)
        middle = np.median(np.nan_to_num(np.stack([mine.signal, *stack])), axis=0)  # has no hits
        of_middle = np.sqrt(mine.variance * np.float32(1.5 / len(levels)))  # as a median's
        source, catalogue = find_sources(np.where(unknown, 0, middle).astype(np.float32), of_middle, self.sources)
        if self.margin:
            source = ndimage.binary_dilation(source, SQUARE, iterations=self.margin)
        return View(excess.astype(np.float32), unknown, source, catalogue)

    def _masks(self, view: View, hot: Mask, name: str) -> tuple[Mask, NDArray[np.uint8]]:
        """Return hits and IGNORE of a frame."""
        free = ~(view.source | view.unknown | hot)
        seeds = (view.excess > self.seed) & free
        near = ndimage.binary_dilation(seeds, SQUARE, iterations=self.dilation) if self.dilation else seeds
        hits = near & (view.excess > self.grow) & free
        if hits.mean() > MOST:
            found = f"{hits.mean():.1%} of its pixels stand out from the others, expected less than {MOST:.0%}"
            raise ValueError(f"{name}: {found}: are they of one field, is the WCS right?")
        labels, count = ndimage.label(hits, SQUARE)
        small = hits & (np.bincount(labels.ravel(), minlength=count + 1) < self.min_size)[labels]
        ignore = border(hits.shape, self.edge)
        for bit, where in ((NO_DATA, view.unknown), (SOURCE, view.source), (HOT, hot | small)):
            ignore[where] |= bit
        return hits & (ignore == 0), ignore


def check_alike(exposures: Sequence[Exposure]) -> None:
    """Refuse exposures that cannot be compared."""
    if len(exposures) < 3:
        raise ValueError(f"expected three exposures of one field or more, got {len(exposures)}")
    filters = [str(exposure.header.get("FILTER", exposure.frame.band)).strip() for exposure in exposures]
    first, *others = [exposure.frame for exposure in exposures]
    for frame in (first, *others):
        if not frame.exptime > 0:
            raise ValueError(f"{frame.name}: expected an exposure of some seconds, got {frame.exptime:g} s")
    for frame, filter_ in zip(others, filters[1:], strict=True):
        pair = f"{first.name} and {frame.name}"
        if frame.shape != first.shape:
            raise ValueError(f"{pair}: expected frames of one shape, got {first.shape} and {frame.shape}")
        if filter_ != filters[0]:
            raise ValueError(f"{pair}: expected one filter, got {filters[0]!r} and {filter_!r}")
        if abs(frame.exptime - first.exptime) > ALIKE * first.exptime:
            raise ValueError(f"{pair}: expected like exposures, got {first.exptime:g} s and {frame.exptime:g} s")
        if frame.name == first.name:
            raise ValueError(f"{frame.name}: given twice; expected exposures that differ")


def read_exposure(path: Path, **known: Any) -> Exposure:
    """Read a frame and the header of its image; ``known`` fields (``gain=4.0``) win over the header."""
    frame = read_frame(path, name=stem(path), **known)
    with opened(path) as hdus:
        header, primary = (part.copy() for part in chosen(path, hdus).headers)
    for card in primary.cards:  # what an extension's header lacks
        if card.keyword and card.keyword not in header:
            header.append(card)
    return Exposure(frame, header)


@one_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Label the frames that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.data.labels.comparison",
        description="Masks of cosmic-ray hits from three or more exposures of one field, in the LCO data set's layout.",
    )
    parser.add_argument("frames", nargs="+", type=Path, metavar="FRAME", help="FITS images, in the order of time")
    parser.add_argument("-o", "--output", type=Path, metavar=f"OUT{ENDING}", help="default: beside the first frame")
    for field in fields(Comparison):
        of_type: dict[str, Any] = {"choices": get_args(How)} if field.name == "align" else {"type": type(field.default)}
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, default=field.default, help=f"default: {field.default}", **of_type)
    for key in KEYWORDS:
        parser.add_argument(f"--{key.replace('_', '-')}", type=float, help="where the headers lack it")
    given = parser.parse_args(arguments)
    known = {key: value for key in KEYWORDS if (value := getattr(given, key)) is not None}
    comparison = Comparison(**{field.name: getattr(given, field.name) for field in fields(Comparison)})
    masked = comparison([read_exposure(path, **known) for path in given.frames])
    first, n = given.frames[0], len(given.frames)
    output = given.output or first.with_name(f"{stem(first)}_{n}frms{ENDING}")
    write_sequence(masked, output, {"ORIGIN": ("CosmicGate", "labels by comparison")})
    for exposure, hits, ignore in zip(masked.exposures, masked.hits, masked.ignore, strict=True):
        count = ndimage.label(hits, SQUARE)[1]
        shares = f"{hits.sum()} px of {count} hits, {np.mean(ignore > 0):.1%} of the pixels ignored"
        print(f"{exposure.frame.name}: {shares}")  # noqa: T201 (a command line)
    print(output)  # noqa: T201


if __name__ == "__main__":
    main()
