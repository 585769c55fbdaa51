"""``cosmicgate show``: draw an image and its hits as a PNG, or list the hits as regions for DS9."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.io.atomic import atomic_write
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import FitsError, open_fits, pixels
from cosmicgate.masking.output_paths import name_of, refuse_fits, side_file
from cosmicgate.masking.read_images import images_of
from cosmicgate.masking.read_masks import changed_since_masked, find_masks, hits_of, is_of_another_file, plane_of

MAX_SIDE = 4000  # pixels along a side; larger images are subsampled
RED = (0.85, 0.0, 0.1)


def show(
    file: Annotated[Path, typer.Argument(help="FITS file that was masked.", show_default=False)],
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            help="File with its masks, if they are not in it, beside it, the current folder or a subfolder of these.",
            show_default=False,
        ),
    ] = None,
    ext: Annotated[
        str | None,
        typer.Option(
            "--ext", help="Image to draw, by EXTNAME or HDU number; needed if there are several.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="PNG to write.", show_default="beside the file")
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.reg",
            help="Region file for DS9 to write as well: a box around each hit, in image coordinates.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw an image as a PNG, its hits outlined in red; the first row of pixels is at the bottom."""
    try:
        refuse_fits(out, "--output")
        refuse_fits(regions, "--regions")
        problems: list[str] = []
        with collect_astropy_warnings(problems):
            image, hits, label = image_and_hits(file, mask, ext, problems)
        for text in problems:
            typer.echo(f"warning: {file}: {text}", err=True)
        label = re.sub(r"[^\w.+-]+", "_", label)  # an EXTNAME may hold a slash
        beside = side_file(file)
        path = out or beside.with_name(beside.name.removesuffix(".fits") + f".{label}" * bool(ext) + ".png")
        if regions is not None:
            write_regions(hits, regions, f"hits of {file.name}, {label}")
        try:
            draw(image, hits, path)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}; -o writes it elsewhere") from error
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{path}: {int(hits.sum())} of {hits.size} pixels are hit")
    if regions is not None:
        typer.echo(f"{regions}: {number_of_hits(hits)} hits")


def image_and_hits(
    file: Path, mask: Path | None, ext: str | None, notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], str]:
    """Read an image (H, W) and its hits (H, W), and make a name for it that is unique in the file.

    ``notes`` gets a sentence if the hits are those of another file, or of an earlier version of it.
    """
    with open_fits(file) as hdus:
        images = images_of(file, hdus, [ext] if ext else [])
        if len(images) > 1:
            few = ", ".join(image.label for image in images[:4]) + ", ..." * (len(images) > 4)
            raise FitsError(f"{file}: expected one image, found {len(images)} ({few}): choose one with --ext")
        extension = images[0]
        shared = sum(hdu.name == extension.name and hdu.ver == extension.version for hdu in hdus) > 1
        image = pixels(hdus[extension.number])
        hits = hits_of(extension, hdus) if mask is None else None
        if hits is not None and changed_since_masked(extension, hdus):
            notes.append("the image was changed since its mask was written into this file")
    if hits is None:
        side = mask or find_masks(file)
        with open_fits(side) as hdus:
            found = plane_of(extension, hdus, "CRMASK")
            if found is None:
                raise FitsError(f"{side}: it has no mask {name_of(extension, 'CRMASK')} of {extension.label}")
            hits = np.asarray(found.data) != 0
        if is_of_another_file(found, file):
            notes.append(f"the mask in {side} is of another version of this file")
    if hits.shape != image.shape:
        raise FitsError(f"{file}: the mask has the shape {hits.shape}, the image {image.shape}")
    return image, hits, extension.label + f"_{extension.number}" * shared


def number_of_hits(hits: NDArray[np.bool_]) -> int:
    """Count the connected groups of hit pixels in a mask (H, W)."""
    return len(boxes_of(hits))


def boxes_of(hits: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Find the rows and columns of each hit of a mask (H, W): pixels that touch, also at corners, are one hit."""
    from scipy.ndimage import find_objects, label

    boxes: list[tuple[slice, slice]] = find_objects(label(hits, KERNEL_3X3)[0])
    return boxes


def write_regions(hits: NDArray[np.bool_], path: Path, title: str) -> None:
    """Write a DS9 region file with a box around each hit of a mask (H, W).

    Image coordinates count pixels from 1; whole numbers are the centres of pixels.
    """
    lines = ["# Region file format: DS9 version 4.1", f"# {title}", "global color=red", "image"]
    for rows, columns in boxes_of(hits):
        x, y = ((side.start + side.stop + 1) / 2 for side in (columns, rows))
        lines.append(f"box({x:.1f},{y:.1f},{columns.stop - columns.start},{rows.stop - rows.start},0)")
    atomic_write(path, "".join(f"{line}\n" for line in lines))


def draw(image: NDArray[np.float32], hits: NDArray[np.bool_], path: Path) -> None:
    """Write a PNG of an image (H, W), in inverted grey, with a red outline around hits (H, W).

    Each pixel of a small image is drawn as several pixels. A large image is subsampled, but all hits are drawn.
    """
    from PIL import Image
    from scipy.ndimage import binary_dilation

    from cosmicgate.io.atomic import atomic_path
    from cosmicgate.report.stretch import stretch

    times = max(800 // max(image.shape), 1)
    down, across = (-(-length // MAX_SIDE) for length in image.shape)
    if down > 1 or across > 1:
        starts = [np.arange(0, length, step) for length, step in zip(image.shape, (down, across), strict=True)]
        image = image[::down, ::across]
        hits = np.logical_or.reduceat(np.logical_or.reduceat(hits, starts[0], axis=0), starts[1], axis=1)
    picture, drawn = stretch(image).repeat(times, 0).repeat(times, 1), hits.repeat(times, 0).repeat(times, 1)
    picture[binary_dilation(drawn, iterations=max(times // 4, 1)) & ~drawn] = RED
    with atomic_path(path) as partial:
        Image.fromarray((255 * picture[::-1]).astype(np.uint8)).save(partial, format="png")
