"""Test set of real frames with truth planes, one for each frame, and with stars that should not be masked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from numpy.typing import NDArray

from cosmicgate.data.cache import LazyLabelledFrame
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY, TRUTH_UNKNOWN
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import detector_of_file, file_fingerprint, find_frames
from cosmicgate.data.sources.known_objects import KnownObjects
from cosmicgate.io.atomic import cached_sha256
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import first_header_value, input_checksum, open_fits, stem
from cosmicgate.io.fits.headers import header_number
from cosmicgate.io.fits.images import select_image
from cosmicgate.io.fits.instruments import check_keys
from cosmicgate.io.fits.truth_files import truth_files, truth_name

NO_TRUTH = "none"  # in place of a folder of truth planes
CODES = {SKY: SKY, CORE: CORE, RING: RING, TRUTH_UNKNOWN: IGNORED, IGNORED: IGNORED}
MAX_DEPTH = 5.0  # sigma of the image below its median; a deeper pixel of a dark-subtracted frame is bad
MAX_BIAS_FRACTION = 0.01  # longest exposure of a bias, as a fraction of that of the darks
MAX_BIAS_EXPTIME = 1.0  # s, longest exposure of a bias


@dataclass(frozen=True)
class FramesWithTruth:
    """Test set of real frames, each with a truth plane: 0 sky, 1 core of a hit, 2 ring around it, 3 or 255 not known.

    Stars and hot pixels, which should not be masked, are found by comparing the frames
    (:class:`~cosmicgate.data.sources.known_objects.KnownObjects`).

    Attributes
    ----------
    files : str, or sequence of str
        One or several glob patterns of the frames; those of one shape must be of one camera.
    name : str
        Name of the test set in tables.
    truth : str, optional
        Folder with a file ``NAME_truth.fits`` (or .fits.fz, .fits.gz) for each frame ``NAME.fits``, whose HDU TRUTH is
        the plane. None: the frames themselves have such an HDU. "none": their hits are not known; only their stars
        and hot pixels are scored.
    header_overrides : mapping
        Values that override the headers: gain (electrons per ADU), read_noise (electrons), saturation (ADU), exptime
        (seconds).
    darks : str, optional
        Glob pattern of darks of the frames' exposure time; their median, which includes the bias, is subtracted.
    biases : str, optional
        Glob pattern of biases, of the camera's shortest exposure time. With them, darks may have another exposure
        time: their excess over the median bias is scaled to the exposure time of the frame.
    field_keywords : sequence of str
        Header keywords. Frames with the same values show the same field, and the bootstrap for confidence intervals
        resamples fields. Empty: it resamples frames.
    """

    files: str | Sequence[str]
    name: str
    truth: str | None = None
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    darks: str | None = None
    biases: str | None = None
    field_keywords: Sequence[str] = ()
    data_origin: DataOrigin = "real"

    def lazy_labelled_frames(self) -> list[LazyLabelledFrame]:
        """List a labelled frame, read when it is needed, for each file.

        Raises
        ------
        FileNotFoundError
            If a pattern matches no file, or a frame has no truth plane.
        """
        check_keys(self.header_overrides)
        frames, darks, biases = self.paths(), *self._darks
        planes = [plane for path in frames if (plane := self._plane_of(path))]
        others = [file_fingerprint(path) for path in (*frames, *darks, *biases, *planes)]
        return [self._lazy_frame(path, others) for path in frames]

    @cached_property
    def known_objects(self) -> KnownObjects:
        """Stars and hot pixels of the frames."""
        return KnownObjects(self.paths(), self.read)

    def paths(self) -> list[Path]:
        """List the files of the frames, pattern by pattern.

        Raises
        ------
        FileNotFoundError
            If a pattern matches no file.
        ValueError
            If two files have the same truth plane in the folder, because they have the same name.
        """
        patterns = [self.files] if isinstance(self.files, str) else self.files
        paths = list(dict.fromkeys(path for pattern in patterns for path in _find_frames(pattern)))
        twins = [name for name, number in Counter(map(stem, paths)).items() if number > 1]
        if twins and self.truth not in (None, NO_TRUTH):
            raise ValueError(f"{self.files}: expected a name for each frame, found more than one {twins[0]!r}")
        return paths

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that took the frames, by their headers."""
        return tuple(sorted({detector_of_file(path, None, *file_fingerprint(path))[0] for path in self.paths()}))

    def fields(self) -> dict[str, list[Path]]:
        """List the files of each field, in order."""
        found: dict[str, list[Path]] = {}
        for path in self.paths():
            found.setdefault(self._field_of(path), []).append(path)
        return found

    def cache_key_parts(self, path: Path) -> list[Any]:
        """List everything that determines what :meth:`read` and :meth:`read_truth` return, for a cache key."""
        plane, calibration = self._plane_of(path), [file_fingerprint(one) for paths in self._darks for one in paths]
        truth_file = file_fingerprint(plane) if plane else NO_TRUTH
        return ["frame", file_fingerprint(path), truth_file, calibration, dict(self.header_overrides)]

    def read(self, path: Path) -> Frame:
        """Read a frame (ADU), and subtract the darks."""
        header_overrides: dict[str, Any] = dict(self.header_overrides)
        frame = read_frame(path, name=stem(path), **header_overrides)
        darks, biases = self._darks
        return subtract_darks(frame, darks, biases) if darks else frame

    def read_truth(self, path: Path, frame: Frame) -> NDArray[np.uint8]:
        """Read the pixel labels (H, W) of a frame; all are IGNORED if its hits are not known."""
        plane = self._plane_of(path)
        if plane is None:
            return np.full(frame.shape, IGNORED, np.uint8)
        if plane != path:
            check_version(path, plane, _checksum(plane))
        return _read_truth(plane, frame)

    @cached_property
    def _has_rings(self) -> bool:
        """True if the hits of the set have rings or are not known; it holds for frames without a hit as well."""
        planes = [self._plane_of(path) for path in self.paths()]
        return any(plane is None or (read_plane(plane) == RING).any() for plane in planes)

    @property
    def _darks(self) -> tuple[list[Path], list[Path]]:
        """List the files of the darks and of the biases."""
        darks, biases = (_find_frames(pattern) if pattern else [] for pattern in (self.darks, self.biases))
        if biases and not darks:
            raise ValueError(f"{self.name}: biases without darks: expected darks, from which the bias is subtracted")
        return darks, biases

    def _plane_of(self, path: Path) -> Path | None:
        """Locate the file that holds the truth of a frame; None if its hits are not known."""
        if self.truth == NO_TRUTH:
            return None
        return path if self.truth is None else plane_path(path, Path(self.truth).expanduser())

    def _lazy_frame(self, path: Path, others: Sequence[Any]) -> LazyLabelledFrame:
        name, plane = stem(path), self._plane_of(path)

        def build() -> tuple[Frame, NDArray[np.uint8], dict[str, Any]]:
            frame = self.read(path)
            truth = self.read_truth(path, frame)
            facts = {"name": name, "field": self._field_of(path), "dilated": self._has_rings}
            return frame, truth, facts | self.known_objects.facts(path, truth)

        settings = [dict(self.header_overrides), list(self.field_keywords)]
        truth_file = file_fingerprint(plane) if plane else NO_TRUTH
        return LazyLabelledFrame(
            name, ["frame with truth", file_fingerprint(path), truth_file, others, *settings], build
        )

    def _field_of(self, path: Path) -> str:
        """Name the field that a frame shows."""
        if not self.field_keywords:
            return stem(path)
        with open_fits(path) as hdus:
            headers = [hdu.header for hdu in hdus]
            values = {word: first_header_value(headers, word) for word in self.field_keywords}
        missing = [word for word, value in values.items() if value is None]
        if missing:
            raise ValueError(f"{path}: expected {', '.join(missing)} in the header, which tells fields apart")
        return " ".join(str(value) for value in values.values())


def _find_frames(pattern: str) -> list[Path]:
    """List the files that match a glob pattern; if there are none, the error says what is needed."""
    try:
        return find_frames(pattern)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; needed: frames with truth planes. make data-real fetches some; real=DIR names their folder"
        ) from error


def plane_path(frame: Path, folder: Path) -> Path:
    """Locate the truth plane of a frame in a folder."""
    name, found = truth_name(frame), truth_files(frame, folder)
    if not found:
        raise FileNotFoundError(f"{frame}: no truth plane {name}, {name}.fz or {name}.gz in {folder}")
    if len(found) > 1:
        raise ValueError(f"{frame}: two truth planes, {found[0].name} and {found[1].name} in {folder}: remove one")
    return found[0]


def is_of(frame: Path, plane: Path) -> bool:
    """Check whether a truth plane was made for this version of its frame; one that does not say so is taken to be."""
    return _checksum(plane) in ("", cached_sha256(frame))


def check_version(frame: Path, plane: Path, checksum: str) -> None:
    """Raise ValueError if the labels in a file have the checksum of another version of their frame."""
    if checksum not in ("", cached_sha256(frame)):
        reason = "the labels are of another version of this file, or of another file of this name"
        raise ValueError(f"{frame}: {reason} ({plane}): check and save them with cosmicgate view, or make them again")


def _checksum(plane: Path) -> str:
    """Read the checksum of the frame of a truth plane; empty if it has none."""
    with open_fits(plane) as hdus:
        return input_checksum([_truth_hdu(plane, hdus)])


def read_plane(path: Path) -> NDArray[Any]:
    """Read the HDU TRUTH (H, W) of a file, in its own codes."""
    with open_fits(path) as hdus:
        return np.asarray(_truth_hdu(path, hdus).data)


def _truth_hdu(path: Path, hdus: fits.HDUList) -> Any:
    names = [hdu.name for hdu in hdus]
    if "TRUTH" not in names:
        raise ValueError(f"{path}: expected an HDU named TRUTH, got {', '.join(names)}")
    return hdus["TRUTH"]


def _read_truth(path: Path, frame: Frame) -> NDArray[np.uint8]:
    """Read the truth (H, W) of a frame in the codes of :mod:`cosmicgate.data.pixel_labels`; bad pixels are ignored."""
    plane = read_plane(path)
    if plane.shape != frame.shape:
        raise ValueError(f"{path}: the truth is {plane.shape}, the image {frame.shape}")
    unknown = sorted(set(np.unique(plane).tolist()) - CODES.keys())
    if unknown:
        raise ValueError(f"{path}: expected the codes 0 sky, 1 core, 2 ring, 3 or 255 not known; got {unknown[:3]}")
    truth = np.full(plane.shape, IGNORED, np.uint8)
    for code, label in CODES.items():
        truth[plane == code] = label
    truth[frame.bad] = IGNORED
    return truth


def subtract_darks(frame: Frame, darks: Sequence[Path], biases: Sequence[Path] = ()) -> Frame:
    """Subtract the median dark, scaled to the exposure time if there are biases; the saturation level falls with it."""
    dark, exptime = _median(darks, frame, None if biases else frame.exptime)
    if biases:
        if not exptime > 0:
            raise ValueError(f"{darks[0]}: expected a dark of more than 0 s, which can be scaled")
        bias, _ = _median(biases, frame, min(MAX_BIAS_FRACTION * exptime, MAX_BIAS_EXPTIME), "", True)
        dark = bias + (dark - bias) * np.float32(frame.exptime / exptime)
    return subtract_dark(frame, dark)


def median_dark(paths: Sequence[Path], like: Frame, ext: str = "", **header_overrides: float) -> NDArray[np.float32]:
    """Compute the median (H, W), ADU, of darks of the shape and exposure time of a frame; NaN where all are bad.

    ``ext`` selects the image; ``header_overrides`` replace values of the darks' headers, except an exposure time there.
    """
    return _median(paths, like, like.exptime, ext, **header_overrides)[0]


def dark_overrides(path: Path, ext: str, header_overrides: Mapping[str, float]) -> dict[str, Any]:
    """Select the overrides that hold for a dark: the exposure time only if its header has none.

    The exposure time that a user gives is that of the exposures, and a dark may have another one.
    """
    with open_fits(path) as hdus:
        own = header_number(path, select_image(path, hdus, ext or None).headers, "exptime")
    return {key: value for key, value in header_overrides.items() if key != "exptime" or own is None}


def subtract_dark(frame: Frame, dark: NDArray[np.float32]) -> Frame:
    """Subtract a dark (H, W), ADU, from a frame; the saturation level falls by its median, NaN pixels become bad."""
    unknown, level = np.isnan(dark), np.nanmedian(dark)
    image = frame.image - np.where(unknown, level, dark)
    return replace(frame, image=image, bad=frame.bad | unknown, saturation=frame.saturation - float(level))


def mark_negative_pixels(frame: Frame) -> Frame:
    """Mark pixels far below the sky of a dark-subtracted frame as bad: hot pixels that were brighter in the darks.

    They are no sky: beside them, other pixels would look like hits when exposures are compared.
    """
    sigma = mad_std(frame.image[~frame.bad])
    negative = frame.image < np.median(frame.image[~frame.bad]) - MAX_DEPTH * sigma
    return replace(frame, bad=frame.bad | negative)


def _median(
    paths: Sequence[Path],
    frame: Frame,
    exptime: float | None,
    ext: str = "",
    bias: bool = False,
    /,
    **header_overrides: float,
) -> tuple[NDArray[np.float32], float]:
    """Combine darks or biases like a frame, of one exposure time, into their median (H, W), ADU, and that time.

    Bad pixels of a dark are left out of the median; it is NaN where all are bad. ``exptime`` is the exposure time of
    darks (None: that of the first), and the highest of biases.
    """
    overrides = header_overrides | {key: getattr(frame, key) for key in ("gain", "read_noise", "saturation")}
    images = []
    for path in paths:
        one = read_frame(path, ext or None, **dark_overrides(path, ext, overrides))
        exptime = one.exptime if exptime is None else exptime
        differs = one.exptime > exptime if bias else abs(one.exptime - exptime) > 0.01 * exptime
        if one.shape != frame.shape or differs:
            kind, most = ("bias", "at most ") if bias else ("dark", "")
            got, wanted = f"{one.shape} and {one.exptime:g} s", f"{frame.shape} and {most}{exptime:g} s"
            raise ValueError(f"{path}: expected a {kind} like {frame.name}, {wanted}; got {got}")
        if one.in_electrons != frame.in_electrons:
            unit, other = ("electrons" if each.in_electrons else "counts" for each in (one, frame))
            raise ValueError(f"{path} is in {unit}, {frame.name} in {other} (BUNIT): expected one unit")
        images.append(np.where(one.bad, np.float32(np.nan), one.image))
    stack = np.stack(images)
    known_in_all = ~np.isnan(stack).any(axis=0)
    median = np.full(frame.shape, np.nan, np.float32)
    median[known_in_all] = np.median(stack[:, known_in_all], axis=0)
    known_in_some = ~known_in_all & ~np.isnan(stack).all(axis=0)
    median[known_in_some] = np.nanmedian(stack[:, known_in_some], axis=0)
    return median, float(exptime or 0)
