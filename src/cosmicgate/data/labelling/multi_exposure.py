"""Label your own telescope's data: make masks of hits by comparing three or more exposures of one field.

    python -m cosmicgate.data.labelling.multi_exposure FRAME FRAME FRAME [-o OUT_masks.fits] [--threshold 5 ...]
    python -m cosmicgate.data.labelling.multi_exposure FRAME FRAME FRAME --truth FOLDER

Stars are in all exposures, a hit is in one. Each frame keeps its own pixels: the other frames are resampled to them
and combined into an expected image, and pixels that exceed it are hits. The output has the format of the LCO data set,
or is a truth plane for each frame, which ``data=real_frames`` reads.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.extras import extra

with extra("label", __name__):
    from cosmicgate.config import report_user_errors
    from cosmicgate.data.labelling.alignment import Alignment, AlignmentMethod
    from cosmicgate.data.labelling.reference_frame import SkySubtracted, clipped_mean, find_sources, flux_ratio
    from cosmicgate.data.labelling.same_camera import check_same_camera, make_names_unique
    from cosmicgate.data.labelling.trails import StarShape, broad_objects, trails
    from cosmicgate.data.labelling.write_truth_planes import write_planes
    from cosmicgate.data.lco.io import (
        ENDING,
        IGNORE_BRIGHTER,
        IGNORE_HOT,
        IGNORE_NO_DATA,
        IGNORE_SOURCE,
        IGNORE_STATIC,
        IGNORE_TRAIL,
        Exposure,
        MaskedSequence,
        border,
        write_sequence,
    )
    from cosmicgate.data.pixel_labels import KERNEL_3X3
    from cosmicgate.io.fits.colour_mosaics import is_binned, mosaic_of
    from cosmicgate.io.fits.frames import read_frame
    from cosmicgate.io.fits.hdus import FitsError, open_fits, stem
    from cosmicgate.io.fits.images import select_image
    from cosmicgate.io.fits.instruments import KEYWORDS

Mask = NDArray[np.bool_]
MAX_VARIANCE_RATIO = 3.0  # variance of the expected image, relative to the frame's, above which faint hits are missed
MAX_FLAGGED_FRACTION = 0.02  # a larger fraction of hit pixels means that the frames do not match


@dataclass(frozen=True, eq=False)
class ExposureResidual:
    """A frame compared with the others; all arrays are (H, W).

    ``signal`` is the sky-subtracted image (electrons), ``excess`` its difference from the expected image in sigma, and
    ``above_sky`` that from the sky; NaN in bad pixels. ``unknown`` and ``source`` mark pixels without enough data and
    pixels of sources, ``shallow`` those at which the other frames are too noisy to find faint hits (clouds).
    """

    signal: NDArray[np.float32]
    excess: NDArray[np.float32]
    above_sky: NDArray[np.float32]
    unknown: Mask
    source: Mask
    shallow: Mask
    star_shape: StarShape
    catalogue: NDArray[np.void]


@dataclass(frozen=True)
class Comparison:
    """Find hits as pixels that are bright in one exposure only.

    Attributes
    ----------
    threshold : float
        Detection threshold: a pixel that exceeds the expected image by more than this many sigma is a hit.
    low_threshold : float
        Threshold, in sigma, of the pixels near one above ``threshold`` (hysteresis thresholding, but limited to a
        distance).
    neighbour_distance : int
        Distance from a pixel above ``threshold`` within which ``low_threshold`` applies, pixels.
    min_size : int
        Minimum number of pixels of a hit. Smaller ones cannot be distinguished from flickering hot pixels, and are
        marked in IGNORE.
    source_threshold : float
        Detection threshold of sources in the median of the frames, in sigma of the sky. Pixels of sources are not
        labelled.
    source_margin : int
        Width of the border around sources that is not labelled either, pixels.
    edge : int
        Width of the image border that is not labelled, pixels; 100 in the LCO data set.
    seeing_tolerance : float
        Fraction of a source's light that may vary with the seeing; it is added to the noise.
    align : {"auto", "wcs", "stars"}
        Method of alignment, as in :class:`~cosmicgate.data.labelling.alignment.Alignment`.
    """

    threshold: float = 5.0
    low_threshold: float = 2.5
    neighbour_distance: int = 1
    min_size: int = 2
    source_threshold: float = 2.0
    source_margin: int = 2
    edge: int = 10
    seeing_tolerance: float = 0.2
    align: AlignmentMethod = "auto"

    def __post_init__(self) -> None:
        if not self.threshold >= self.low_threshold > 0:
            found = f"threshold={self.threshold}, low_threshold={self.low_threshold}"
            raise ValueError(f"{found}: expected threshold >= low_threshold > 0")
        minima = {"neighbour_distance": 0, "min_size": 1, "source_threshold": 1, "source_margin": 0, "edge": 0}
        for name, minimum in {**minima, "seeing_tolerance": 0}.items():
            if not getattr(self, name) >= minimum:
                raise ValueError(f"{name}={getattr(self, name)}: expected {minimum} or more")

    def __call__(self, exposures: Sequence[Exposure]) -> MaskedSequence:
        """Make the masks of the hits of each exposure.

        Raises
        ------
        ValueError
            If there are fewer than three exposures, they differ too much, or they cannot be aligned; the message names
            the exposure.
        """
        check_same_camera(exposures := make_names_unique(exposures))
        frames = [exposure.frame for exposure in exposures]
        levels = [SkySubtracted.of(frame) for frame in frames]
        signals, names = [level.signal for level in levels], [frame.name for frame in frames]
        noises, headers = [level.noise for level in levels], [exposure.header for exposure in exposures]
        align = Alignment(signals, noises, headers, names, self.align)
        times = [frame.exptime for frame in frames]
        residuals = [self._residual(levels, align, times, number) for number in range(len(levels))]
        hot = self._hot_pixels(residuals)
        masks = [self._masks(residual, hot, name) for residual, name in zip(residuals, names, strict=True)]
        hits, ignore, found = zip(*masks, strict=True)
        notes = (_agreement(align), *(note for one in found for note in one))
        return MaskedSequence(tuple(exposures), hits, ignore, residuals[len(residuals) // 2].catalogue, notes)

    def _residual(
        self, levels: Sequence[SkySubtracted], align: Alignment, times: Sequence[float], to: int
    ) -> ExposureResidual:
        """Compare a frame with the others, which are resampled to its pixels and scaled to its brightness."""
        mine = levels[to]
        stack, variances = [], []
        for number, level in enumerate(levels):
            if number != to:
                moved = align(number, to)
                ratio = flux_ratio(mine.signal, moved, mine.noise, times[to] / times[number])
                stack.append(moved * np.float32(ratio))
                variances.append(level.variance * np.float32(ratio**2))
        expected, variance, number_known = clipped_mean(np.stack(stack), np.stack(variances))
        light = np.maximum(expected, 0)
        seeing = self.seeing_tolerance * ndimage.maximum_filter(light, 3)
        noise = np.sqrt(variance + mine.variance + light + seeing**2)
        unknown = (number_known < 2) | ~np.isfinite(mine.signal)
        shallow = ~unknown & (variance > MAX_VARIANCE_RATIO * mine.variance)
        excess = np.where(unknown, 0, (mine.signal - expected) / noise)
        above_sky = np.where(np.isfinite(mine.signal), mine.signal / np.sqrt(mine.variance), np.nan)
        middle = _median_of_known([mine.signal, *stack])  # the median removes hits
        of_middle = np.sqrt(mine.variance * (1.5 / (number_known + 1)).astype(np.float32))  # noise of such a median
        source, catalogue = find_sources(
            np.where(unknown, 0, middle).astype(np.float32), of_middle, self.source_threshold
        )
        if self.source_margin:
            source = ndimage.binary_dilation(source, KERNEL_3X3, iterations=self.source_margin)
        star_shape = StarShape.of(np.where(unknown, 0, middle).astype(np.float32), of_middle)
        excess, above_sky = excess.astype(np.float32), above_sky.astype(np.float32)
        return ExposureResidual(mine.signal, excess, above_sky, unknown, source, shallow, star_shape, catalogue)

    def _hot_pixels(self, residuals: Sequence[ExposureResidual]) -> Mask:
        """Find pixels (H, W) that are bright in every frame, at the same position on the detector.

        Where a frame has nothing to be compared with, its light above the sky decides. Frames whose pixel is bad, or as
        bright as the source that it lies on, do not count, but two others must.
        """
        excess = np.stack([np.where(one.unknown, one.above_sky, one.excess) for one in residuals])
        bright = excess > self.low_threshold
        counted = np.isfinite(excess) & (bright | ~np.stack([one.source for one in residuals]))
        hot = (bright | ~counted).all(axis=0) & (excess > self.threshold).any(axis=0) & (counted.sum(axis=0) > 1)
        return np.asarray(hot)

    def _masks(self, residual: ExposureResidual, hot: Mask, name: str) -> tuple[Mask, NDArray[np.uint8], list[str]]:
        """Make the masks CR and IGNORE (H, W) of a frame, and notes on trails and broad objects."""
        free = ~(residual.source | residual.unknown | hot)
        ignore = border(free.shape, self.edge)
        lines = trails(residual.excess, free, residual.star_shape)
        trail = np.zeros(free.shape, bool)
        rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
        for line in lines:
            trail |= line.contains(columns, rows)
        near = (residual.excess > self.threshold) & free & ~trail
        if self.neighbour_distance:
            near = ndimage.binary_dilation(near, KERNEL_3X3, iterations=self.neighbour_distance)
        hits = near & (residual.excess > self.low_threshold) & free & ~trail
        if hits.mean() > MAX_FLAGGED_FRACTION:
            most = f"{MAX_FLAGGED_FRACTION:.0%}"
            found = f"{hits.mean():.1%} of its pixels stand out from the others, expected less than {most}"
            raise ValueError(f"{name}: {found}: are they of one field, is the WCS right?")
        broad = broad_objects(hits, residual.excess, residual.signal, residual.source, residual.star_shape)
        hits &= ~broad
        labels, count = ndimage.label(hits, KERNEL_3X3)
        small = hits & (np.bincount(labels.ravel(), minlength=count + 1) < self.min_size)[labels]
        trail |= ndimage.binary_dilation(broad, KERNEL_3X3, iterations=max(1, self.source_margin))
        brighter = residual.source & (residual.excess > self.low_threshold)
        brighter |= residual.shallow & ~(residual.source | hits) & (residual.above_sky > self.threshold)
        bits = {
            IGNORE_NO_DATA: residual.unknown,
            IGNORE_SOURCE: residual.source,
            IGNORE_HOT: hot | small,
            IGNORE_TRAIL: trail,
        }
        for bit, where in (bits | {IGNORE_BRIGHTER: brighter, IGNORE_STATIC: hot}).items():
            ignore[where] |= bit
        notes = [f"{name}: {line} is ignored" for line in lines]
        if residual.shallow.mean() > 0.5:
            notes.append(f"{name}: the other exposures are much shallower (clouds?): its faint hits are ignored")
        if number := int(ndimage.label(broad, KERNEL_3X3)[1]):
            notes.append(f"{name}: {number} object(s) as broad as stars, in this exposure only, are ignored")
        return hits & (ignore == 0), ignore, notes


def _median_of_known(stack: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Compute the median (H, W) of frames, at each pixel of those with data; 0 where there are none."""
    values = np.sort(np.stack(stack), axis=0)  # NaN comes last
    number = np.isfinite(values).sum(axis=0)
    middle = [
        np.take_along_axis(values, place[None], axis=0)[0] for place in (np.maximum(number - 1, 0) // 2, number // 2)
    ]
    return np.where(number > 0, (middle[0] + middle[1]) / 2, 0).astype(np.float32)


def _agreement(align: Alignment) -> str:
    """Describe the quality of the alignment, for the notes."""
    by = {"wcs": "their WCS", "stars": "their stars"}[align.method]
    if align.worst_match is None:
        return f"aligned by {by}; too few stars to check it by"
    worst = (
        f"at worst {align.worst_match.pairs} stars in two exposures, {align.worst_match.residual:.2f} px apart (median)"
    )
    unchecked = f"; {align.unchecked} have too few stars to check" if align.unchecked else ""
    return f"aligned by {by}: {worst}{unchecked}"


def read_exposure(path: Path, ext: str = "", **header_overrides: Any) -> Exposure:
    """Read a frame and the header of its image; ``header_overrides`` such as ``gain=4.0`` replace its values.

    ``ext`` selects the image by EXTNAME, number or ``NAME,VERSION``; empty if the file has only one.
    """
    frame = read_frame(path, ext or None, name=stem(path), **header_overrides)
    with open_fits(path) as hdus:
        header, primary = (part.copy() for part in select_image(path, hdus, ext or None).headers)
    try:
        card = "" if is_binned([header, primary]) else mosaic_of([header, primary])
    except FitsError:  # its message names an option of `cosmicgate mask`
        card = "larger than 2x2 pixels"
    if card:
        raise ValueError(f"{path}: a colour mosaic ({card}): expected exposures in one filter; separate its colours")
    for card in primary.cards:  # add cards that the extension's header lacks
        if card.keyword and card.keyword not in header:
            header.append(card)
    return Exposure(frame, header)


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: label the given frames, and write the masks."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.data.labelling.multi_exposure",
        description="Masks of cosmic-ray hits from three or more exposures of one field, in the LCO data set's layout.",
    )
    parser.add_argument("frames", nargs="+", type=Path, metavar="FRAME", help="FITS images, in the order of time")
    parser.add_argument("-o", "--output", type=Path, metavar=f"OUT{ENDING}", help="default: beside the first frame")
    parser.add_argument("--truth", type=Path, metavar="FOLDER", help="write NAME_truth.fits.fz of each frame instead")
    parser.add_argument("--ext", default="", help="image of each file, by EXTNAME, number or NAME,VERSION")
    for field in fields(Comparison):
        of_type: dict[str, Any] = (
            {"choices": get_args(AlignmentMethod)} if field.name == "align" else {"type": type(field.default)}
        )
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, default=field.default, help=f"default: {field.default}", **of_type)
    for key in KEYWORDS:
        parser.add_argument(f"--{key.replace('_', '-')}", type=float, help="where the headers lack it")
    given = parser.parse_args(arguments)
    header_overrides = {key: value for key in KEYWORDS if (value := getattr(given, key)) is not None}
    comparison = Comparison(**{field.name: getattr(given, field.name) for field in fields(Comparison)})
    if given.truth and given.output:
        raise ValueError("-o and --truth: expected one of them")
    if given.truth and given.ext:
        raise ValueError("--truth and --ext: a truth plane is that of a file's only image: expected -o")
    masked = comparison([read_exposure(path, given.ext, **header_overrides) for path in given.frames])
    for note in masked.notes:
        print(note)  # noqa: T201 (a command line)
    first, n = given.frames[0], len(given.frames)
    output = given.truth or given.output or first.with_name(f"{stem(first)}_{n}frms{ENDING}")
    if given.truth:
        write_planes(masked, given.frames, output)
    else:
        write_sequence(masked, output, {"ORIGIN": ("CosmicGate", "labels by comparison")})
    for exposure, hits, ignore in zip(masked.exposures, masked.hits, masked.ignore, strict=True):
        count = ndimage.label(hits, KERNEL_3X3)[1]
        shares = f"{hits.sum()} px of {count} hits, {np.mean(ignore > 0):.1%} of the pixels ignored"
        print(f"{exposure.frame.name}: {shares}")  # noqa: T201
    print(output)  # noqa: T201


if __name__ == "__main__":
    main()
