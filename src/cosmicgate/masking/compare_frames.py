"""Compare the frames of a night: measure each file once, keep the measurements, and find the static pixels."""

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cosmicgate import __version__
from cosmicgate.io.atomic import atomic_write, file_state
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.instruments import detector_of
from cosmicgate.io.urls import Address
from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.existing_output import existing_output
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.read_images import read_images
from cosmicgate.masking.static_pixels import MIN_FRAMES, Measurement, StaticMap, StaticPixels, find_static, measure

MEASUREMENTS_FOLDER = ".cosmicgate-static"  # beside the outputs; keeps the measurements of their inputs
FINGERPRINT_BYTES = 2**16  # read at each end of a file, to notice a change that keeps its size and time
IMAGES = "images"  # name of the list of images in a kept measurement
Pair = tuple[Address, Address]  # input and output


def local_pairs(pairs: Iterable[Pair]) -> list[tuple[Path, Path]]:
    """List the pairs of local input and local output; the frames of URLs are not compared."""
    return [(one, two) for one, two in pairs if isinstance(one, Path) and isinstance(two, Path)]


def measure_file(source: Path, target: Path, options: MaskOptions, spare: Path) -> Path | None:
    """Measure the images of a file and keep the result beside its output or, if that is not possible, in ``spare``.

    It is not possible in a folder of measurements that belongs to another user, for example.

    Returns
    -------
    Path or None
        File with the measurement. None if the file cannot be read: the reason is told when it is masked.
    """
    try:
        kept = _path_of(source, target, options)  # before it is read, so that a later change is noticed
        with collect_astropy_warnings([]):
            content = _measured(source, options)
        try:
            for old in _earlier(kept.parent, source, options):
                if old != kept:  # another run may be reading it
                    old.unlink(missing_ok=True)
            atomic_write(kept, content)
        except OSError:
            kept = spare / kept.name
            atomic_write(kept, content)
    except Exception:  # one bad file must not stop the batch
        return None
    return kept


def kept_measurement(source: Path, target: Path, options: MaskOptions) -> Path | None:
    """Find the measurement of a file that an earlier run kept beside its output; None if there is none.

    It counts if the file has not changed since. A file that this package masked in place has changed: it counts too.
    """
    try:
        path = _path_of(source, target, options)
        if zipfile.is_zipfile(path):
            return path
        earlier = _earlier(path.parent, source, options) if options.in_place else []
        return earlier[0] if len(earlier) == 1 and existing_output(source).keys else None
    except OSError:
        return None


def _path_of(source: Path, target: Path, options: MaskOptions) -> Path:
    """Build the path of a file's measurement, which depends on the file's size, time of modification and ends.

    Size and time alone may be those of another frame of this name: frames of a camera have one size, and ``tar`` or
    ``touch`` give files one time.
    """
    name = f"{_prefix(source, options)}{_hash([*file_state(source)[1:], _ends(source)])}.npz"
    return target.parent / MEASUREMENTS_FOLDER / name


def _ends(source: Path) -> str:
    """Hash the first and the last 64 kB of a file; empty for what is no file, as reading a pipe would block."""
    if not source.is_file():
        return ""
    with source.open("rb") as file:
        begin = file.read(FINGERPRINT_BYTES)
        file.seek(max(file.seek(0, 2) - FINGERPRINT_BYTES, 0))
        return hashlib.sha256(begin + file.read()).hexdigest()


def _earlier(folder: Path, source: Path, options: MaskOptions) -> list[Path]:
    """List the measurements of a file, in whatever state it was, but not those of files of its name elsewhere."""
    return sorted(folder.glob(f"{escape(_prefix(source, options))}*.npz"))


def _prefix(source: Path, options: MaskOptions) -> str:
    folder = os.fsencode(source.parent.resolve()).hex()  # JSON has no text for some names
    return f"{source.name}-{_hash([__version__, options.exts, options.masked, options.mosaic, folder])}-"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _measured(source: Path, options: MaskOptions) -> bytes:
    """Measure the images of a file and save the result as the bytes of an .npz file."""
    arrays: dict[str, Any] = {}
    images: list[tuple[int, Sequence[str]]] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for image in read_images(source, options.exts, masked=options.masked):
        extension = image.extension
        detector = detector_of(extension.headers, source, extension.shape)
        seen[detector] += 1  # amplifiers without cards that distinguish them are distinguished by their order
        mosaic, _ = find_mosaic_card(extension.headers, image.image, image.bad, options.mosaic)
        arrays |= measure(image.image, image.bad, bool(mosaic)).arrays(f"{len(images)} ")
        images.append((extension.number, [*detector, str(bool(mosaic)), str(seen[detector])]))
    return _saved(arrays, images)


def measure_exposure(frame: Frame, detector: Sequence[str], kept: Path) -> None:
    """Measure a frame and keep the result as the file ``kept``; ``detector`` says which frames can be compared."""
    bad = frame.bad | (frame.image >= frame.saturation)
    atomic_write(kept, _saved(measure(frame.image, bad).arrays("0 "), [(0, detector)]))


def _saved(arrays: Mapping[str, Any], images: Sequence[tuple[int, Sequence[str]]]) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, **{**arrays, IMAGES: np.array(json.dumps(images))})
    return file.getvalue()


def find_static_pixels(measured: Mapping[Path, Path]) -> StaticPixels:
    """Find the static pixels of each detector in the measurements of a night; one frame is in memory at a time.

    Parameters
    ----------
    measured : mapping of Path to Path
        For each file, the file with its measurement. One that another run removes meanwhile is left out.
    """
    while True:
        try:
            return _compare(measured)
        except FileNotFoundError:
            left = {file: kept for file, kept in measured.items() if kept.is_file()}
            if len(left) == len(measured):
                raise
            measured = left


def _compare(measured: Mapping[Path, Path]) -> StaticPixels:
    """Find the static pixels of each detector; raise FileNotFoundError if a measurement has been removed."""
    by_detector: dict[tuple[str, ...], list[tuple[Path, Path, int, int]]] = {}
    for file, kept in sorted(measured.items()):
        with np.load(kept) as arrays:
            for number, (hdu, detector) in enumerate(json.loads(str(arrays[IMAGES]))):
                by_detector.setdefault(tuple(detector), []).append((file, kept, number, hdu))
    maps: list[StaticMap] = []
    images: dict[str, dict[int, int]] = {}
    for members in by_detector.values():
        if len(members) < MIN_FRAMES:
            continue
        found = find_static(_KeptMeasurements([(kept, number) for _, kept, number, _ in members]))
        if found is not None:
            for file, _, _, hdu in members:
                images.setdefault(str(file.absolute()), {})[hdu] = len(maps)
            maps.append(found)
    return StaticPixels(maps, images)


@dataclass(frozen=True)
class _KeptMeasurements(Sequence[Measurement]):
    """Measurements that are read from their files when they are accessed."""

    images: list[tuple[Path, int]]  # file, number of the image in it

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: Any) -> Any:
        kept, image = self.images[number]
        with np.load(kept) as arrays:
            return Measurement.of(arrays, f"{image} ")
