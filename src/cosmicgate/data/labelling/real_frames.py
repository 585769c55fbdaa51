"""Make the truth planes of the small real data by comparing exposures, or measure how well two sets of planes agree.

    python -m cosmicgate.data.labelling.real_frames data/real [--only lco0m4 arcsat] [--compare FOLDER]

``make data-real`` calls it. Planes that exist are kept. With ``--compare``, the planes are compared with those below
another folder of the same layout.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.extras import extra

with extra("label", __name__):
    from cosmicgate.config import report_user_errors
    from cosmicgate.data.labelling.multi_exposure import Comparison, read_exposure
    from cosmicgate.data.labelling.write_truth_planes import Plane, truth_planes, write_plane
    from cosmicgate.data.lco.io import Exposure
    from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3, RING, SKY, TRUTH_UNKNOWN
    from cosmicgate.data.sources.files import find_frames
    from cosmicgate.data.sources.frames_with_truth import (
        is_of,
        mark_negative_pixels,
        plane_path,
        read_plane,
        subtract_darks,
    )
    from cosmicgate.io.atomic import remove_stale_temp_files
    from cosmicgate.io.fits.hdus import stem


@dataclass(frozen=True)
class RealSet:
    """Frames of one camera, of which consecutive ones show the same field.

    Attributes
    ----------
    frames : str
        Glob pattern of the frames, in the order of time.
    exposures_per_field : int
        Number of consecutive frames that are compared with each other.
    header_overrides : mapping
        Values that override the headers, as in ``conf/data/real_*.yaml``.
    darks : str, optional
        Glob pattern of darks whose median is subtracted.
    """

    frames: str
    exposures_per_field: int
    header_overrides: Mapping[str, float]
    darks: str | None = None

    def groups(self, folder: Path) -> list[list[Path]]:
        """List the frames that are compared with each other."""
        frames = find_frames(str(folder / self.frames))
        if len(frames) % self.exposures_per_field:
            raise ValueError(
                f"{folder}: expected a multiple of {self.exposures_per_field} frames {self.frames}, found {len(frames)}"
            )
        return [
            frames[start : start + self.exposures_per_field]
            for start in range(0, len(frames), self.exposures_per_field)
        ]

    def read(self, path: Path) -> Exposure:
        """Read a frame, and subtract the darks."""
        exposure = read_exposure(path, **dict[str, Any](self.header_overrides))
        if self.darks is None:
            return exposure
        frame = subtract_darks(exposure.frame, find_frames(str(path.parent / self.darks)))
        return replace(exposure, frame=mark_negative_pixels(frame))


SETS: dict[str, RealSet] = {
    "lco0m4": RealSet("*.fits.fz", 3, {"gain": 0.77, "read_noise": 16.4}),
    "arcsat": RealSet(
        "XO1-b_*.fits.fz", 5, {"gain": 1.37, "read_noise": 16.2, "saturation": 65000.0}, darks="Dark_*.fits.fz"
    ),
}


def make_planes(root: Path, names: Sequence[str] = tuple(SETS)) -> Iterator[str]:
    """Make the truth planes in ``root/NAME/truth`` that are missing or of other versions of their frames.

    Yields a line of progress for each group.

    Raises
    ------
    ValueError
        If frames are missing, or cannot be compared.
    """
    for name in names:
        groups = SETS[name].groups(root / name)
        remove_stale_temp_files(root / name / "truth")
        for number, paths in enumerate(groups, 1):
            planes = [paths[0].parent / "truth" / f"{stem(path)}_truth.fits.fz" for path in paths]
            if not all(plane.is_file() and is_of(path, plane) for path, plane in zip(paths, planes, strict=True)):
                masked = Comparison()([SETS[name].read(path) for path in paths])
                for path, plane, truth in zip(paths, planes, truth_planes(masked), strict=True):
                    write_plane(plane, truth, path)
                hits = [int(ndimage.label(mask, KERNEL_3X3)[1]) for mask in masked.hits]
                yield f"truth of {name}: {number} of {len(groups)}, {', '.join(map(str, hits))} hits; {masked.notes[0]}"


@dataclass(frozen=True)
class PlaneAgreement:
    """Counts of hits and of core pixels in a truth plane and a reference; counts of several frames can be added.

    Attributes
    ----------
    reference_hits, found, unknown : int
        Hits of the reference: all, those with a core pixel of the plane, and those in pixels unknown in the plane.
    hits, confirmed, unknown_in_reference : int
        Hits of the plane: all, those that touch a core or ring of the reference, and those in pixels unknown there.
    core_in_both, core_in_plane, core_in_reference : int
        Core pixels of both, and of one of them where the other one has sky.
    """

    reference_hits: int = 0
    found: int = 0
    unknown: int = 0
    hits: int = 0
    confirmed: int = 0
    unknown_in_reference: int = 0
    core_in_both: int = 0
    core_in_plane: int = 0
    core_in_reference: int = 0

    def __add__(self, other: "PlaneAgreement") -> "PlaneAgreement":
        return PlaneAgreement(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        missed = self.reference_hits - self.found - self.unknown
        false = self.hits - self.confirmed - self.unknown_in_reference
        return (
            f"{self.reference_hits} hits in the reference: {self.found} found, {missed} missed, {self.unknown} in "
            f"unknown pixels; {self.hits} hits here: {self.confirmed} confirmed, {false} on sky of the reference, "
            f"{self.unknown_in_reference} in pixels unknown there; core pixels: {self.core_in_both} in both, "
            f"{self.core_in_plane} only here, {self.core_in_reference} only in the reference"
        )


def compare_planes(plane: Plane, reference: Plane) -> PlaneAgreement:
    """Compare a truth plane (H, W) of a frame with another one, the reference."""
    if plane.shape != reference.shape:
        raise ValueError(f"expected truth planes of one shape, got {plane.shape} and {reference.shape}")
    reference_hits = _count_hits(reference, plane == CORE, plane == TRUTH_UNKNOWN)
    hits = _count_hits(plane, (reference == CORE) | (reference == RING), reference == TRUTH_UNKNOWN)
    pixels = [
        (plane == CORE) & (reference == CORE),
        (plane == CORE) & (reference == SKY),
        (plane == SKY) & (reference == CORE),
    ]
    return PlaneAgreement(*reference_hits, *hits, *(int(part.sum()) for part in pixels))


def _count_hits(plane: Plane, other: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Count the hits of a plane, those that touch pixels of ``other``, and the remaining ones wholly in ``unknown``."""
    labels, count = ndimage.label(plane == CORE, KERNEL_3X3)
    if not count:
        return 0, 0, 0
    index = np.arange(1, count + 1)
    touched = np.asarray(ndimage.maximum(other, labels, index), bool)
    not_judged = np.asarray(ndimage.minimum(unknown, labels, index), bool)
    return int(count), int(touched.sum()), int((~touched & not_judged).sum())


def compare_sets(root: Path, other: Path, names: Sequence[str] = tuple(SETS)) -> Iterator[str]:
    """Compare the planes below ``root`` with those below ``other``; yield a sentence for each set."""
    for name in names:
        folders = root / name / "truth", other / name / "truth"
        frames = [path for group in SETS[name].groups(root / name) for path in group]
        pairs = [[read_plane(plane_path(path, folder)) for folder in folders] for path in frames]
        total = sum((compare_planes(*pair) for pair in pairs), PlaneAgreement())
        yield f"{name}, {len(frames)} frames: {total}"


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.data.labelling.real_frames",
        description="Make the truth planes of the small real data; planes that exist are kept.",
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path("data/real"), help="folder of the data")
    parser.add_argument(
        "--only", nargs="+", choices=list(SETS), default=list(SETS), help="make the planes of these sets only"
    )
    parser.add_argument(
        "--compare", type=Path, metavar="FOLDER", help="compare the planes with those below this folder"
    )
    given = parser.parse_args(arguments)
    root = given.root.expanduser()
    for line in make_planes(root, given.only):
        print(line, flush=True)  # noqa: T201 (a command line)
    if given.compare:
        for line in compare_sets(root, given.compare.expanduser(), given.only):
            print(line)  # noqa: T201


if __name__ == "__main__":
    main()
