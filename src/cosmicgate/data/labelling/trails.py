"""Find objects that are in one exposure only but are no hits: satellite trails, and objects as broad as a star.

A satellite's light passes through the optics, so its trail is as wide as a star; a particle's track is only as wide as
the charge that it leaves. If stars are as narrow as hits (undersampled), length alone decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.extras import extra

with extra("label"):
    import sep

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Places = NDArray[np.float64]
SMOOTHING = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
ANGLES = np.deg2rad(np.arange(0, 180, 0.5))
MAX_POINTS = 60_000  # maximum number of bright pixels in the line search
MIN_VOTES = 20  # minimum number of bright pixels on a line
MAX_LINES = 30  # maximum number of lines examined in an exposure
MAX_GAP = 80.0  # pixels, maximum gap of a blinking trail
BIN = 4.0  # pixels, bin size along a line
MIN_LENGTH = 24.0  # pixels, minimum length of a trail
MIN_DASH = 4  # bins, minimum length of a continuous part of a trail
TRACK_LENGTH = 200.0  # pixels, maximum length of a particle's track
MIN_COVER = 0.2  # minimum fraction of the length that is bright, in excess of that of the parallel lines
MIN_TRAIL_WIDTH = 0.7  # minimum width of a trail, as a fraction of the stars' width
MIN_SMOOTHNESS = 0.8  # minimum smoothness of a broad object, as a fraction of the stars' smoothness
UNKNOWN_WIDTH, UNKNOWN_SMOOTHNESS = 1.4, 0.75  # values assumed for the stars if there are too few to measure
HOT_SMOOTHNESS = 0.5  # smoothness above that of all hot pixels and nearly all hits
MIN_PIXELS = 6  # minimum number of pixels of a broad object
REACH = 30  # pixels, half width of the profile across a line


@dataclass(frozen=True)
class Trail:
    """A straight trail in one exposure, with its ends (x, y) and its half width in pixels."""

    start: tuple[float, float]
    end: tuple[float, float]
    half: float

    @property
    def length(self) -> float:
        """Length, pixels."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    def __str__(self) -> str:
        ends = " to ".join(f"({x:.0f}, {y:.0f})" for x, y in (self.start, self.end))
        return f"a trail from {ends}, {self.length:.0f} px long"

    def contains(self, x: Places, y: Places) -> Mask:
        """Mark the positions (arrays that broadcast, pixels) that are on the trail."""
        direction = np.subtract(self.end, self.start) / max(self.length, 1e-9)
        x, y = x - self.start[0], y - self.start[1]
        along = x * direction[0] + y * direction[1]
        across = np.abs(y * direction[0] - x * direction[1])
        return np.asarray((across <= self.half) & (along >= -self.half) & (along <= self.length + self.half))


@dataclass(frozen=True)
class StarShape:
    """Width and smoothness of the stars of an exposure.

    Attributes
    ----------
    sigma : float
        Sigma of their profile, pixels.
    smoothness : float
        Fraction of their peak that is left after 3x3 smoothing.
    """

    sigma: float = UNKNOWN_WIDTH
    smoothness: float = UNKNOWN_SMOOTHNESS

    @classmethod
    def of(cls, expected: Image, noise: Image) -> "StarShape":
        """Measure the stars of an image (H, W) without hits; use default values if there are fewer than three."""
        data = np.ascontiguousarray(np.nan_to_num(expected), np.float32)
        sep.set_extract_pixstack(max(300_000, data.size))
        found = sep.extract(data, 8.0, err=np.ascontiguousarray(noise, np.float32), minarea=5)
        smooth = found["cpeak"] > HOT_SMOOTHNESS * found["peak"]  # excludes hot pixels, which are in all exposures too
        round_ones = found[smooth & (found["b"] > 0.6 * found["a"]) & (found["flag"] == 0)]
        if len(round_ones) < 3:
            return cls()
        sigma = np.median(np.sqrt(round_ones["a"] * round_ones["b"]))
        return cls(float(sigma), float(np.median(round_ones["cpeak"] / round_ones["peak"])))


def trails(excess: Image, usable: Mask, star_shape: StarShape) -> list[Trail]:
    """Find the trails of an exposure.

    Parameters
    ----------
    excess : ndarray (H, W), float32
        Excess of the exposure over the image expected from the other exposures, in sigma.
    usable : ndarray (H, W), bool
        Pixels with data, outside sources and hot pixels.
    star_shape : StarShape
        Width of the stars of the exposure.
    """
    clipped = np.where(usable, np.clip(excess, -5, 25), 0).astype(np.float32)
    smooth = ndimage.uniform_filter(clipped, 3) * 3
    rows, columns = np.nonzero(usable & ((smooth > 4) | (excess > 5)))
    points = np.column_stack([columns, rows]).astype(np.float64)
    if len(points) > MAX_POINTS:
        points = points[np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False)]
    width = max(2.0, 1.5 * star_shape.sigma)
    found: list[Trail] = []
    for _ in range(MAX_LINES):
        line = _strongest(points)
        if line is None:
            break
        angle, distance = _refined(points, *line, width)
        trail = next((t for t in _runs(points, angle, distance, width, clipped, usable, star_shape)), None)
        if trail is None:
            points = points[np.abs(_across(points, angle, distance)) > 1.5]
        else:
            found.append(trail)
            points = points[~trail.contains(points[:, 0], points[:, 1])]
    return found


def _strongest(points: Places) -> tuple[float, float] | None:
    """Find the line with the most points (Hough); return its angle and distance from the origin, None if too few."""
    if len(points) < MIN_VOTES:
        return None
    votes, best = MIN_VOTES - 1, None
    low = -float(np.hypot(*points.max(axis=0)))
    for angle in ANGLES:
        distances = points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle)
        counts = np.bincount(((distances - low) / 2).astype(np.int64))
        peak = int(counts.argmax())
        if counts[peak] > votes:
            votes, best = int(counts[peak]), (float(angle), low + 2 * peak + 1)
    return best


def _across(points: Places, angle: float, distance: float) -> Places:
    return np.asarray(points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle) - distance)


def _refined(points: Places, angle: float, distance: float, width: float) -> tuple[float, float]:
    """Refine a line by a fit to the points near it."""
    for reach in (2 * width, width, width):
        near = points[np.abs(_across(points, angle, distance)) <= reach]
        along = near @ (-np.sin(angle), np.cos(angle))
        if len(near) < MIN_VOTES or np.ptp(along) < MIN_LENGTH:
            break
        slope, offset = np.polyfit(along, _across(near, angle, distance), 1)
        normal = np.array([np.cos(angle), np.sin(angle)]) - slope * np.array([-np.sin(angle), np.cos(angle)])
        length = float(np.hypot(*normal))
        angle, distance = float(np.arctan2(normal[1], normal[0])), float((distance + offset) / length)
    return angle, distance


def _runs(
    points: Places, angle: float, distance: float, width: float, clipped: Image, usable: Mask, star_shape: StarShape
) -> Iterator[Trail]:
    """Yield the parts of a line that are trails, the longest first."""
    across, along = _across(points, angle, distance), points @ (-np.sin(angle), np.cos(angle))
    bins, full = np.floor(along / BIN).astype(np.int64), max(2, round(2 * star_shape.sigma))
    strips = [_filled(bins[np.abs(across - k * 2.5 * width) <= width], full) for k in range(-6, 7)]
    mine = strips.pop(6)
    if not len(mine):
        return
    parts = np.split(mine, np.nonzero(np.diff(mine) * BIN > MAX_GAP)[0] + 1)
    for part in sorted(parts, key=lambda one: int(one[0] - one[-1])):
        length = (part[-1] - part[0] + 1) * BIN
        if length < MIN_LENGTH:
            return
        cover = len(part) * BIN / length
        beside = [np.sum((one >= part[0]) & (one <= part[-1])) * BIN / length for one in strips]
        if cover < MIN_COVER + 1.5 * float(np.median(beside)):
            continue
        low, high = part[0] * BIN, (part[-1] + 1) * BIN
        sigma, half = _width(*_profile(clipped, usable, angle, distance, low, high))
        dashes = int(np.sum(np.diff(part) > 2)) + 1
        broad = sigma > max(0.9, MIN_TRAIL_WIDTH * star_shape.sigma)
        if half and (broad or length > TRACK_LENGTH) and (cover > 0.6 or dashes >= 3):
            yield _trail(angle, distance, low, high, half, clipped.shape)


def _filled(bins: NDArray[np.int64], full: int) -> NDArray[np.int64]:
    """List the bins along a line with ``full`` points or more that belong to a run of MIN_DASH such bins or more."""
    found, counts = np.unique(bins, return_counts=True)
    found = found[counts >= full]
    if not len(found):
        return found
    dashes = np.split(found, np.nonzero(np.diff(found) > 2)[0] + 1)
    return np.concatenate([np.zeros(0, np.int64), *(dash for dash in dashes if len(dash) >= MIN_DASH)])


def _profile(
    clipped: Image, usable: Mask, angle: float, distance: float, low: float, high: float
) -> tuple[Places, Places]:
    """Compute the profile across a line: mean excess and its error at offsets from -REACH to REACH pixels."""
    steps, offsets = np.arange(low, high), np.arange(-REACH, REACH + 1)
    x = (distance + offsets[:, None]) * np.cos(angle) - steps * np.sin(angle)
    y = (distance + offsets[:, None]) * np.sin(angle) + steps * np.cos(angle)
    values = ndimage.map_coordinates(clipped, [y, x], order=1, mode="constant", cval=0.0)
    covered = ndimage.map_coordinates(usable.astype(np.float32), [y, x], order=1, mode="constant", cval=0.0) > 0.99
    number = np.maximum(covered.sum(axis=1), 1)
    return np.where(covered, values, 0).sum(axis=1) / number, 1 / np.sqrt(number)


def _width(profile: Places, error: Places) -> tuple[float, float]:
    """Measure sigma and half width (pixels) of the central peak of a profile; zeros if there is no peak."""
    base = float(np.median(profile))
    light = profile - base
    middle = REACH - 2 + int(np.argmax(light[REACH - 2 : REACH + 3]))
    peak = float(light[middle])
    if peak < max(0.3, 4 * float(error[middle])):
        return 0.0, 0.0
    low = high = middle
    floor = max(0.1 * peak, 2 * float(error[middle]))
    while low > 0 and light[low - 1] > floor:
        low -= 1
    while high < len(light) - 1 and light[high + 1] > floor:
        high += 1
    offsets = np.arange(low, high + 1) - middle
    weights = light[low : high + 1]
    centre = float((weights * offsets).sum() / weights.sum())
    sigma = float(np.sqrt((weights * (offsets - centre) ** 2).sum() / weights.sum()))
    return sigma, float(max(REACH - low, high - REACH)) + 2.5


def _trail(angle: float, distance: float, low: float, high: float, half: float, shape: tuple[int, ...]) -> Trail:
    """Make a trail from a part of a line, and extend it to the edge of the image if it ends near it."""
    foot, along = np.array([np.cos(angle), np.sin(angle)]) * distance, np.array([-np.sin(angle), np.cos(angle)])
    ends = []
    for end, sign in ((low, -1.0), (high, 1.0)):
        place = foot + along * end
        beyond = place + sign * 30 * along
        out = beyond.min() < 0 or beyond[0] > shape[1] - 1 or beyond[1] > shape[0] - 1
        ends.append(tuple(float(v) for v in (beyond if out else place)))
    return Trail(ends[0], ends[1], half)  # type: ignore[arg-type]


def broad_objects(hits: Mask, excess: Image, signal: Image, source: Mask, star_shape: StarShape) -> Mask:
    """Mark those hits (H, W) that are as smooth as the stars: a moving or new object, not a particle.

    Parameters
    ----------
    hits, source : ndarray (H, W), bool
        Masks of the supposed hits, and of sources in all exposures.
    excess, signal : ndarray (H, W), float32
        Excess over the expected image in sigma, and sky-subtracted image in electrons.
    star_shape : StarShape
        Smoothness of the stars of the exposure.
    """
    labels, count = ndimage.label(hits, KERNEL_3X3)
    if not count:
        return np.zeros(hits.shape, bool)
    filled = np.nan_to_num(signal)
    near = ndimage.binary_dilation(source, KERNEL_3X3, iterations=2)
    limit = max(MIN_SMOOTHNESS * star_shape.smoothness, HOT_SMOOTHNESS)
    broad = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        own = labels[box] == number
        if own.sum() < MIN_PIXELS:
            continue
        broad[number] = _smoothness(excess, box, own) > limit
        # Beside a source, the hit may be the part of a moving object that the other exposures do not cover.
        if not broad[number] and near[box][own].any():
            broad[number] = _smoothness(filled, box, np.ones_like(own)) > limit
    return np.asarray(broad[labels])


def _smoothness(image: Image, box: tuple[slice, slice], own: Mask) -> float:
    """Compute the fraction of the peak within a box that is left after 3x3 smoothing."""
    wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    smooth = ndimage.correlate(np.maximum(image[wide], 0), SMOOTHING, mode="nearest")
    inner = tuple(slice(side.start - w.start, side.stop - w.start) for side, w in zip(box, wide, strict=True))
    peak = float(image[box][own].max())
    return float(smooth[inner][own].max()) / peak if peak > 0 else 0.0
