"""``cosmicgate show``: an image and its hits as a picture."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.hdus import FitsError, opened, pixels
from cosmicgate.data.fits.images import Extension
from cosmicgate.masking.products.names import name_of, side_file
from cosmicgate.masking.products.planes import images_of

LARGEST = 4000  # pixels of a side; a larger image is thinned out
RED = (0.85, 0.0, 0.1)


def show(
    file: Annotated[Path, typer.Argument(help="A FITS file that was masked.", show_default=False)],
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="File of its masks; else those in it or beside it.", show_default=False),
    ] = None,
    ext: Annotated[str | None, typer.Option("--ext", help="Image, by name or number.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="The PNG; else beside the file.", show_default=False)
    ] = None,
) -> None:
    """Draw an image with its hits outlined, as a PNG; the first row is at the bottom."""
    try:
        image, hits, label = image_and_hits(file, mask, ext)
        label = re.sub(r"[^\w.+-]+", "_", label)  # an EXTNAME may hold a slash
        beside = side_file(file)
        path = out or beside.with_name(beside.name.removesuffix(".fits") + f".{label}" * bool(ext) + ".png")
        draw(image, hits, path)
    except (FitsError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{path}: {int(hits.sum())} of {hits.size} pixels are hit")


def image_and_hits(
    file: Path, mask: Path | None, ext: str | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], str]:
    """Return an image (H, W), its hits (H, W) and a name that no other image of the file has."""
    with opened(file) as hdus:
        images = images_of(file, hdus, [ext] if ext else [])
        if len(images) > 1:
            few = ", ".join(image.label for image in images[:4]) + ", ..." * (len(images) > 4)
            raise FitsError(f"{file}: expected one image, found {len(images)} ({few}): choose one by --ext")
        place = images[0]
        shared = sum(hdu.name == place.name and hdu.ver == place.version for hdu in hdus) > 1
        image = pixels(hdus[place.number])
        hits = hits_of(place, hdus) if mask is None else None
    if hits is None:
        side = mask or side_file(file)
        if not side.is_file():
            raise FitsError(f"{file}: it has no masks of cosmicgate and {side} is not there: mask it first")
        with opened(side) as hdus:
            hits = hits_of(place, hdus)
        if hits is None:
            raise FitsError(f"{side}: it has no mask {name_of(place, 'CRMASK')} of {place.label}")
    if hits.shape != image.shape:
        raise FitsError(f"{file}: the mask is {hits.shape}, the image {image.shape}")
    return image, hits, place.label + f"_{place.number}" * shared


def hits_of(place: Extension, hdus: fits.HDUList) -> NDArray[np.bool_] | None:
    """Return the mask (H, W) of an image among HDUs, by its number: amplifiers may share a name. None: it has none."""
    name = name_of(place, "CRMASK")
    found = [hdu for hdu in hdus if hdu.name == name and hdu.header.get("CRHDU") == place.number]
    return np.asarray(found[0].data) != 0 if found else None


def draw(image: NDArray[np.float32], hits: NDArray[np.bool_], path: Path) -> None:
    """Write a PNG of an image (H, W), bright is dark, with a red line around hits (H, W).

    A small image has several pixels of the picture for each of its own. Of a large one every few rows and columns are
    drawn, and all hits.
    """
    from matplotlib.image import imsave
    from scipy.ndimage import binary_dilation

    from cosmicgate.files import whole
    from cosmicgate.report.pictures.panels import stretch

    times = max(800 // max(image.shape), 1)
    down, across = (-(-length // LARGEST) for length in image.shape)
    if down > 1 or across > 1:
        starts = [np.arange(0, length, step) for length, step in zip(image.shape, (down, across), strict=True)]
        image = image[::down, ::across]
        hits = np.logical_or.reduceat(np.logical_or.reduceat(hits, starts[0], axis=0), starts[1], axis=1)
    picture, drawn = stretch(image).repeat(times, 0).repeat(times, 1), hits.repeat(times, 0).repeat(times, 1)
    picture[binary_dilation(drawn, iterations=max(times // 4, 1)) & ~drawn] = RED
    with whole(path) as partial:
        imsave(partial, picture[::-1], format="png")
