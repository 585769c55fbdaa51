"""Test set of real frames whose truth is at hand as planes, one for each frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.cache import LabelledRecipe
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.sources.files import identity, matching
from cosmicgate.data.sources.simulated import Provenance
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import first_header_value, opened, stem

NOT_KNOWN = 3  # code of a truth plane; 255, the code of this package, means the same
CODES = {SKY: SKY, CORE: CORE, RING: RING, NOT_KNOWN: IGNORED, IGNORED: IGNORED}


@dataclass(frozen=True)
class FramesWithTruth:
    """Test set of real frames, each with a truth plane: 0 sky, 1 core of a hit, 2 ring around it, 3 or 255 not known.

    Attributes
    ----------
    files : str, or sequence of str
        One or several glob patterns of the frames.
    name : str
        Name of the test set in tables.
    truth : str, optional
        Folder with a file ``NAME_truth.fits`` (or .fits.fz, .fits.gz) for each frame ``NAME.fits``, whose HDU TRUTH is
        the plane. None: the frames themselves have such an HDU.
    header : mapping
        Values that override the headers: gain (electrons per ADU), read_noise (electrons), saturation (ADU), exptime
        (seconds).
    darks : str, optional
        Glob pattern of darks of the frames' exposure time; their median, which includes the bias, is subtracted.
    field_keywords : sequence of str
        Header keywords. Frames with the same values show the same field, and the bootstrap for confidence intervals
        resamples fields. Empty: it resamples frames.
    """

    files: str | Sequence[str]
    name: str
    truth: str | None = None
    header: Mapping[str, float] = field(default_factory=dict)
    darks: str | None = None
    field_keywords: Sequence[str] = ()
    provenance: Provenance = "real"

    def labelled_recipes(self) -> list[LabelledRecipe]:
        """List a recipe of frame and truth for each file.

        Raises
        ------
        FileNotFoundError
            If a pattern matches no file, or a frame has no truth plane.
        """
        patterns = [self.files] if isinstance(self.files, str) else self.files
        try:
            frames = [path for pattern in patterns for path in matching(pattern)]
            darks = matching(self.darks) if self.darks else []
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; needed: frames with truth planes. make data-real fetches some; real=DIR names their folder"
            ) from error
        return [self._recipe(path, self._plane_of(path), darks) for path in frames]

    def _plane_of(self, path: Path) -> Path:
        """Locate the file that holds the truth of a frame."""
        return path if self.truth is None else plane_path(path, Path(self.truth).expanduser())

    def _recipe(self, path: Path, plane: Path, darks: Sequence[Path]) -> LabelledRecipe:
        name = stem(path)

        def make() -> tuple[Frame, NDArray[np.uint8], dict[str, Any]]:
            known: dict[str, Any] = dict(self.header)
            frame = read_frame(path, name=name, **known)
            if darks:
                frame = subtract_darks(frame, darks)
            truth = _read_truth(plane, frame)
            return frame, truth, {"name": name, "field": self._field_of(path), "dilated": bool((truth == RING).any())}

        sources = [identity(source) for source in (path, plane, *darks)]
        return LabelledRecipe(name, ["frame with truth", *sources, dict(self.header), list(self.field_keywords)], make)

    def _field_of(self, path: Path) -> str:
        """Name the field that a frame shows."""
        if not self.field_keywords:
            return stem(path)
        with opened(path) as hdus:
            headers = [hdu.header for hdu in hdus]
            values = {word: first_header_value(headers, word) for word in self.field_keywords}
        missing = [word for word, value in values.items() if value is None]
        if missing:
            raise ValueError(f"{path}: expected {', '.join(missing)} in the header, which tells fields apart")
        return " ".join(str(value) for value in values.values())


def plane_path(frame: Path, folder: Path) -> Path:
    """Locate the truth plane of a frame in a folder."""
    name = f"{stem(frame)}_truth.fits"
    found = [folder / f"{name}{suffix}" for suffix in ("", ".fz", ".gz") if (folder / f"{name}{suffix}").is_file()]
    if not found:
        raise FileNotFoundError(f"{frame}: no truth plane {name}, {name}.fz or {name}.gz in {folder}")
    return found[0]


def read_plane(path: Path) -> NDArray[Any]:
    """Read the HDU TRUTH (H, W) of a file, in its own codes."""
    with opened(path) as hdus:
        names = [hdu.name for hdu in hdus]
        if "TRUTH" not in names:
            raise ValueError(f"{path}: expected an HDU named TRUTH, got {', '.join(names)}")
        return np.asarray(hdus["TRUTH"].data)


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


def subtract_darks(frame: Frame, paths: Sequence[Path]) -> Frame:
    """Subtract the median of darks of the same exposure time; the saturation level falls with it."""
    darks = [
        read_frame(path, gain=frame.gain, read_noise=frame.read_noise, saturation=frame.saturation) for path in paths
    ]
    for path, dark in zip(paths, darks, strict=True):
        if dark.shape != frame.shape or abs(dark.exptime - frame.exptime) > 0.01 * frame.exptime:
            got, wanted = f"{dark.shape} and {dark.exptime:g} s", f"{frame.shape} and {frame.exptime:g} s"
            raise ValueError(f"{path}: expected a dark like {frame.name}, {wanted}; got {got}")
    median = np.median(np.stack([dark.image for dark in darks]), axis=0).astype(np.float32)
    return replace(frame, image=frame.image - median, saturation=frame.saturation - float(np.median(median)))
