"""Count the objects of masks that lie on static pixels, before and after these are found, and the hits that are lost.

    cosmicgate mask DIR -o MASKS --no-static
    python benchmarks/static_pixels.py DIR MASKS --first 12

The frames lie in ``DIR`` and their truth planes in ``DIR/truth``. Static pixels are removed from the masks. The
reference for static pixels does not use the comparison of the frames: pixels that the masks mark among the first frames
and among the others, hardly ever two hits. An object of a mask, pixels that touch, lies on static pixels if it has one
of them.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3
from cosmicgate.data.sources.frames_with_truth import plane_path, read_plane
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.masking.output_paths import inputs_of, side_file
from cosmicgate.masking.read_images import read_images
from cosmicgate.masking.static_pixels import MIN_FRAMES, find_static, measure

Mask = NDArray[np.bool_]


def main() -> None:
    """Compare all frames, or only some of them, and print a table of what is left of the masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="folder of the frames; their truth planes are in its folder truth")
    parser.add_argument("masks", type=Path, help="folder of their masks")
    parser.add_argument("--first", type=int, help="number of the first frames, of one night say", required=True)
    parser.add_argument("--compared", type=Path, help="folder of masks of some frames, written with the comparison")
    options = parser.parse_args()
    files = [Path(str(file)) for file, _ in inputs_of([options.frames])[0]]
    truths = [read_plane(plane_path(file, options.frames / "truth")) == CORE for file in files]
    masks = [mask_of(options.masks / side_file(file).name) for file in files]
    if options.compared is not None:
        pairs = [(options.compared / side_file(file).name, core) for file, core in zip(files, truths, strict=True)]
        written = [(mask_of(path), core) for path, core in pairs if path.is_file()]
        hits, seen = np.sum([touching(core, mask) for mask, core in written], axis=0)
        objects = sum(touching(mask, mask)[0] for mask, _ in written)
        print(f"written with the comparison: {len(written)} frames, {objects} objects, {seen} of {hits} hits found\n")
    images = [next(read_images(file)) for file in files]
    measured = [measure(one.image, one.bad) for one in images]

    first, every = options.first, range(len(files))
    reference = np.any(masks[:first], axis=0) & np.any(masks[first:], axis=0)
    print(f"{len(files)} frames; {int(reference.sum())} pixels are marked among the first {first} and the others\n")
    print("| compared | static pixels | scored on | objects/Mpx | on static pixels | hits found | hit pixels lost |")
    print("|---|---:|---|---:|---:|---:|---:|")
    before, after, later = range(first), range(first, len(files)), range(MIN_FRAMES, len(files))
    none = range(0)
    rows = [(none, every), (every, every), (none, after), (before, after), (none, before), (after, before)]
    for compared, scored in (*rows, (range(MIN_FRAMES), later)):
        found = find_static([measured[number] for number in compared])
        static = np.zeros(reference.shape, bool) if found is None else found.mask
        left = [masks[number] & ~static for number in scored]
        cores = [truths[number] for number in scored]
        size = len(scored) * static.size / 1e6
        objects, on_static = np.sum([touching(one, reference) for one in left], axis=0) / size
        hits, seen = np.sum([touching(*pair) for pair in zip(cores, left, strict=True)], axis=0)
        lost = sum(int((one & static).sum()) for one in cores)
        counts = f"{objects:.0f} | {on_static:.1f} | {seen} of {hits} | {lost}"
        print(f"| {span(compared)} | {int(static.sum())} | {span(scored)} | {counts} |")


def span(numbers: range) -> str:
    """Name frames by the numbers of the first and the last one, counted from 1."""
    return f"{numbers.start + 1} to {numbers.stop}" if numbers else "none"


def mask_of(path: Path) -> Mask:
    """Read the only mask (H, W) of a file of masks."""
    with open_fits(path) as hdus:
        return next(np.asarray(hdu.data) != 0 for hdu in hdus if hdu.name.endswith("CRMASK"))


def touching(mask: Mask, other: Mask) -> tuple[int, int]:
    """Count the objects of a mask (H, W), and those of them that have a pixel in another mask (H, W)."""
    labels, count = ndimage.label(mask, KERNEL_3X3)
    return count, len(set(labels[mask & other].tolist()))


if __name__ == "__main__":
    main()
