"""Decide which HDUs of a file are images of the sky, which are planes of one, and which are unclear.

Names decide first, then cards that identify detectors, then the pixels. An unclear HDU is neither searched nor changed,
and a note says so.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from cosmicgate.io.fits.hdus import header_value, is_two_dimensional
from cosmicgate.io.fits.instruments import DETECTOR_CARDS
from cosmicgate.io.fits.masks import IMAGES, MASKS, OTHERS, PRODUCTS, SCIENCE, TARGETS, words_of
from cosmicgate.io.fits.pixel_statistics import PixelStatistics, pixel_statistics, show_same_image

DEFAULT_NAMES = ("COMPRESSED_IMAGE",)  # default name of compressed images without a name
# Area relative to the largest image below which an HDU is a stamp or a low-resolution map; and the same limit for HDUs
# that are compared by their pixels, if their names are not numbered.
MIN_AREA, MIN_AREA_BY_PIXELS = 1 / 8, 1 / 2
# Factor by which the noise of a camera's images may differ, and of images with numbered names.
MAX_NOISE_RATIO, MAX_NOISE_RATIO_NUMBERED = 5.0, 30.0


@dataclass(frozen=True)
class Role:
    """Role of an HDU.

    Attributes
    ----------
    kind : {"image", "plane", "unclear"}
        Image of the sky, plane by its name, or neither for certain.
    reason : str
        Reason why it is no image, or why it is one in spite of its name.
    """

    kind: Literal["image", "plane", "unclear"]
    reason: str = ""


IMAGE, PLANE = Role("image"), Role("plane", "its name is that of a mask, a weight map or another plane of an image")
FLAGS = Role("unclear", "it has only a few different integers, like a plane of flags")
NO_NOISE = Role("unclear", "it has no noise from pixel to pixel, like a model or a map")
DUPLICATE = Role("unclear", "it shows the same image as another HDU, like an error map")
STAMP = Role("unclear", "it is much smaller than the image")
UNKNOWN = Role("unclear", "there is an image beside it, and its own name does not say what it is")
OTHER_KIND = Role("unclear", "its noise level or its data type differs from that of the image")


def roles_of(hdus: Any) -> dict[int, Role]:
    """Assign a role to each two-dimensional HDU: image of the sky, plane of one, or unclear.

    If several HDUs may be images, they are recognised by cards that identify their detectors, by one name with several
    versions, or by names that mean science. Otherwise those are images whose noise is like that of the others and that
    do not show the same image as another HDU. Pixels are read only if names and cards do not decide.

    Parameters
    ----------
    hdus : HDUList
        HDUs of an open file.

    Returns
    -------
    dict of int to Role
        Roles by HDU number.
    """
    numbers = [number for number, hdu in enumerate(hdus) if is_two_dimensional(hdu)]
    if str(header_value(hdus[0].header, "PRODTYPE") or "").strip().lower() in PRODUCTS:
        return dict.fromkeys(numbers, PLANE)
    roles = {number: PLANE for number in numbers if names_a_plane(hdus[number].name)}
    candidates = [number for number in numbers if number not in roles]
    if not candidates:
        return roles | dict.fromkeys(_targets(hdus, numbers), Role("image", "there is no other image"))
    if len(candidates) > 1:
        return roles | _ImageChoice(hdus).among(candidates)
    return roles | {candidates[0]: IMAGE}


def names_a_plane(name: str) -> bool:
    """Check whether an EXTNAME contains a word of planes, which are no images of the sky."""
    words = words_of(name)
    return bool(words & (MASKS | OTHERS)) or any(word.startswith("PSF") for word in words)


def _targets(hdus: Any, numbers: list[int]) -> list[int]:
    """Find the images in a file whose HDUs all have names of planes: SKY or MODEL, if it is the only such name."""
    words = {number: words_of(hdus[number].name) for number in numbers}
    found = [
        number for number in numbers if words[number] & TARGETS and not words[number] & ((MASKS | OTHERS) - TARGETS)
    ]
    return found if len({_letters(hdus[number].name) for number in found}) == 1 else []


def _letters(name: str) -> str:
    """Reduce an EXTNAME to its letters: ``"im12"`` to ``"IM"``."""
    return " ".join(re.findall(r"[A-Z]+", name.upper()))


class _ImageChoice:
    """Choice of the images among several HDUs that may be one.

    Parameters
    ----------
    hdus : HDUList
        HDUs of an open file.
    """

    def __init__(self, hdus: Any) -> None:
        self.hdus = hdus
        self.statistics: dict[int, PixelStatistics] = {}

    def among(self, candidates: list[int]) -> dict[int, Role]:
        """Assign roles to all candidates: leave out much smaller ones, then decide for each detector and version."""
        largest = max(self._area(number) for number in candidates)
        small = [n for n in candidates if self._area(n) < MIN_AREA * largest and not self._is_science(n)]
        detector = {number: self._detector(number) for number in candidates}
        large = {detector[number] for number in candidates if number not in small}
        small = [number for number in small if not any(detector[number]) or detector[number] in large]
        roles = dict.fromkeys(small, STAMP)
        groups = _groups((n for n in candidates if n not in roles), lambda number: detector[number])
        unnamed = [number for own, group in groups.items() if not any(own) for number in group]
        if unnamed and len(groups) > 1:
            other = Role("unclear", "its header does not name a detector, as those of the other images do")
            roles |= {number: IMAGE if self._is_science(number) else other for number in unnamed}
        for group in groups.values():
            if group != unnamed or len(groups) == 1:
                for part in self._by_version(group):
                    roles |= self._of_one_detector(part)
        return roles

    def _of_one_detector(self, group: list[int]) -> dict[int, Role]:
        if len(group) == 1:
            return {group[0]: IMAGE}
        science = [number for number in group if self._is_science(number)]
        if any(words_of(self._name(n)) & SCIENCE for n in science) or 0 < len(science) < len(group):
            return self._beside(group, science)
        if 0 in group and (self._is_noisy(0) or not any(map(self._is_noisy, group))):
            numbered = len(group) > 2 and self._is_numbered(group[1:])
            return self._by_pixels(group, numbered, [0]) if numbered else self._beside(group, [0])
        return self._by_pixels(group, self._is_numbered(group))

    def _beside(self, group: list[int], images: list[int]) -> dict[int, Role]:
        """Keep the images that are certain; of the other HDUs only those without a name may be images too."""
        roles = dict.fromkeys(images, IMAGE)
        nameless = [n for n in group if n not in images and not self._name(n)]
        roles |= self._by_pixels([*images, *nameless], False, images) if nameless else {}
        for number in group:
            if number not in roles:
                kind = self._statistics(number).kind
                roles[number] = FLAGS if kind == "flags" else NO_NOISE if kind == "smooth" else UNKNOWN
        return roles

    def _by_pixels(self, group: list[int], numbered: bool, certain: list[int] | None = None) -> dict[int, Role]:
        """Assign roles by pixels: images have noise of similar strength, and no two of them show the same."""
        roles = dict.fromkeys(certain or (), IMAGE)
        noisy = list(filter(self._is_noisy, group))
        nameless = all(not self._name(number) for number in group if number not in roles)
        if not noisy and (numbered or nameless) and len({self._statistics(number).kind for number in group}) == 1:
            return dict.fromkeys(group, IMAGE)  # photon counts or constant images: only names can decide
        for number in group:
            if number not in roles and number not in noisy:
                kind = self._statistics(number).kind
                dead = numbered and kind in ("constant", "nothing")  # a dead CCD of a mosaic camera
                roles[number] = IMAGE if dead or kind == "unreadable" else FLAGS if kind == "flags" else NO_NOISE
        undecided = [number for number in noisy if number not in roles]
        first = certain or self._certain_by_header(undecided)
        roles |= dict.fromkeys(first, IMAGE)
        left = [number for number in undecided if number not in first]
        filtered_copies = not all(self._is_of_detector(self._name(number)) for number in group)
        found = {}
        for number in left:
            rivals = first or [n for n in left if n != number] or [number]
            found[number] = self._compare(number, rivals, numbered, filtered_copies)
        doubt = next((role for role in found.values() if role != IMAGE), None)
        if doubt and not first and not numbered:  # one is a plane of another, but it is unknown which
            found = {number: doubt if role == IMAGE else role for number, role in found.items()}
        return roles | found

    def _compare(self, number: int, others: list[int], numbered: bool, filtered_copies: bool) -> Role:
        """Compare a noisy HDU with images, or with HDUs that may be images."""
        mine = self._statistics(number)
        if any(show_same_image(mine, self._statistics(other), filtered_copies=filtered_copies) for other in others):
            return DUPLICATE
        if self._area(number) < MIN_AREA_BY_PIXELS * max(self._area(other) for other in others) and not numbered:
            return STAMP
        noises = [self._statistics(other).noise for other in others if self._statistics(other).noise]
        most = MAX_NOISE_RATIO_NUMBERED if numbered else MAX_NOISE_RATIO
        far = noises and not any(1 / most <= mine.noise / noise <= most for noise in noises)
        same_type = any(self._is_integer(number) == self._is_integer(other) for other in others)
        return OTHER_KIND if far or not same_type else IMAGE

    def _certain_by_header(self, group: list[int]) -> list[int]:
        """Find the only HDU that has a unit, an exposure time or coordinates."""
        for words in (("BUNIT",), ("EXPTIME", "EXPOSURE", "ITIME"), ("CTYPE1",)):
            having = [n for n in group if any(header_value(self.hdus[n].header, word) is not None for word in words)]
            if len(having) == 1 and len(group) > 1:
                return having
        return []

    def _by_version(self, group: list[int]) -> list[list[int]]:
        """Split a group by EXTVER if one name occurs in all versions."""
        parts = list(_groups(group, self._version).values())
        names = [[self._name(number) for number in part] for part in parts]
        shared = set.intersection(*map(set, names)) - {""}
        unique = all(len(set(some)) == len(some) for some in names)
        return parts if len(parts) > 1 and shared and unique else [group]

    def _is_numbered(self, group: list[int]) -> bool:
        """Check for names of a mosaic camera: equal but for numbers (im1, im2), or short ones (N4, S31; kk, mm)."""
        names = [self._name(number) for number in group]
        stems = {_letters(name) for name in names}
        short = all(re.fullmatch(r"[A-Z]{1,2}", name) or self._is_of_detector(name) for name in names)
        return bool(group) and (short or (len(stems) == 1 and "" not in names))

    def _is_of_detector(self, name: str) -> bool:
        """Check for names that images of a mosaic camera have and planes do not: CCD2, im12, N4, S31, 7."""
        words = words_of(name) - {""}
        return bool(words and words <= IMAGES) or re.fullmatch(r"[A-Z]{0,2}\d+", name) is not None

    def _is_science(self, number: int) -> bool:
        """Check whether a name contains a word of science, or only words of detectors."""
        words = words_of(self._name(number)) - {""}
        return bool(words & SCIENCE) or bool(words and words <= IMAGES)

    def _name(self, number: int) -> str:
        name: str = self.hdus[number].name.strip().upper()
        return "" if name in DEFAULT_NAMES or (number == 0 and name == "PRIMARY") else name

    def _version(self, number: int) -> int:
        version = self.hdus[number].ver
        return int(version) if isinstance(version, int) else 1

    def _detector(self, number: int) -> tuple[str, ...]:
        found = [header_value(self.hdus[number].header, word) for word in (*DETECTOR_CARDS, "IMAGEID")]
        return tuple("" if one is None else str(one).strip() for one in found)

    def _area(self, number: int) -> int:
        rows, columns = self.hdus[number].shape[-2:]
        return int(rows * columns)

    def _is_integer(self, number: int) -> bool:
        return int(self.hdus[number].header["BITPIX"]) > 0

    def _is_noisy(self, number: int) -> bool:
        return self._statistics(number).kind == "noise"

    def _statistics(self, number: int) -> PixelStatistics:
        if number not in self.statistics:
            self.statistics[number] = pixel_statistics(self.hdus[number])
        return self.statistics[number]


def _groups(numbers: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    found: dict[Any, list[int]] = {}
    for number in numbers:
        found.setdefault(key(number), []).append(number)
    return found


def unsearched_notes(hdus: Any, roles: dict[int, Role]) -> list[str]:
    """List a line for each reason why HDUs that may be images are not searched, with the option to search them."""
    reasons = _groups((n for n, role in roles.items() if role.kind == "unclear"), lambda number: roles[number].reason)
    names = Counter(hdu.name.strip().upper() for hdu in hdus)
    lines = []
    for reason, numbers in reasons.items():
        labels = [_display_name(hdus[n].name.strip(), n, names) for n in numbers]
        few = ", ".join(labels[:4]) + f" and {len(labels) - 4} more" * (len(labels) > 4)
        lines.append(f"{few}: not searched and not changed: {reason}; use --ext {labels[0]} to search it")
    deep = [i for i, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) > 2 and 0 not in hdu.shape]
    for number in [n for n in deep if n not in roles and not names_a_plane(hdus[n].name)]:
        shape = "x".join(str(side) for side in hdus[number].shape)
        lines.append(f"{_display_name(hdus[number].name.strip(), number, names)}: not searched: a cube of {shape}")
    return lines


def _display_name(name: str, number: int, names: Counter[str]) -> str:
    return name if name and name.upper() not in DEFAULT_NAMES and names[name.upper()] == 1 else str(number)
