"""``cosmicgate info``: print how a FITS file is interpreted."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from astropy.io import fits

from cosmicgate.io.fits.cards import CRHITPIX, CRKEY, CRMODEL, CRPIXELS, CRTHRESH
from cosmicgate.io.fits.colour_mosaics import mosaic_of
from cosmicgate.io.fits.file_defects import collect_astropy_warnings, find_defects
from cosmicgate.io.fits.hdus import FitsError, open_fits, pixels
from cosmicgate.io.fits.images import ImageExtension, masks_beside, science
from cosmicgate.io.fits.instruments import telescope_of
from cosmicgate.io.fits.roles import Role, roles_of
from cosmicgate.masking.read_images import number_of, uncertainty_planes


def info(file: Annotated[Path, typer.Argument(help="FITS file, also .fz or .gz.", show_default=False)]) -> None:
    """Print how a file is interpreted: which HDUs are images, masks, uncertainties or masks by cosmicgate."""
    try:
        problems: list[str] = []
        with collect_astropy_warnings(problems), open_fits(file) as hdus:
            problems += find_defects(file)
            lines = describe(file, hdus)
    except (FitsError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for text in problems:
        typer.echo(f"warning: {file}: {text}", err=True)
    for line in lines:
        typer.echo(line)


def describe(path: Path, hdus: fits.HDUList) -> list[str]:
    """Write a line about the file and one about each of its HDUs."""
    found = roles_of(hdus)
    try:
        images = science(path, hdus, found)
        none = ""
    except FitsError as error:
        images, none = [], str(error)
    telescope = telescope_of((hdus[0].header, *(hdu.header for hdu in hdus[1:2])), path)
    lines = [f"{path}: {len(hdus)} HDUs, {len(images)} images" + f", telescope {telescope}" * bool(telescope)]
    roles = {number: f"not searched, not changed: {role.reason}" for number, role in found.items() if role.reason}
    roles |= _roles(path, hdus, images, found)
    for number, hdu in enumerate(hdus):
        shape = "x".join(str(side) for side in hdu.shape) if hdu.is_image and hdu.shape else "-"
        name = hdu.name.strip() or "-"
        lines.append(f"{number:4} {name:20} {shape:>12} {roles.get(number, 'not used')}")
    return lines + [none] * bool(none)


def _roles(path: Path, hdus: fits.HDUList, images: list[ImageExtension], found: dict[int, Role]) -> dict[int, str]:
    """Describe the roles of HDUs, by number."""
    roles = {number: text for number, hdu in enumerate(hdus) if (text := _own_mask(hdu))}
    for image in images:
        saturation = number_of(path, image, "saturation")
        notes = f"; saturated from {saturation:g} on, by its header" if saturation is not None else ""
        notes += _mosaic(hdus, image)
        notes += f"; its overscan {image.overscan} is not searched" if image.overscan else ""
        notes += f"; {found[image.number].reason}" if found[image.number].reason else ""
        roles[image.number] = f"image{notes}"
        for number in masks_beside(hdus, image, images):
            same_shape = hdus[number].shape[-2:] == image.shape
            what = "pixels that it marks as bad are not searched" if same_shape else "not used, as its shape differs"
            roles[number] = f"mask of {image.label}: {what}"
        for number, kind in uncertainty_planes(hdus, image, images):
            roles[number] = f"uncertainty of {image.label} ({kind}): --clean adapts it where hits are replaced"
    return roles


def _mosaic(hdus: fits.HDUList, image: ImageExtension) -> str:
    """Describe an image as a colour mosaic; empty if its header names no pattern."""
    try:
        if not mosaic_of(image.headers):
            return ""
        from cosmicgate.masking.colour_mosaic import find_mosaic_card  # imports torch; slow

        values = pixels(hdus[image.number])
        pattern, note = find_mosaic_card(image.headers, values, ~np.isfinite(values))
    except FitsError as error:
        return f"; not searched: {error}"
    return f"; a colour mosaic ({pattern}), each colour searched and cleaned by itself" if pattern else f"; {note}"


def _own_mask(hdu: Any) -> str:
    header = hdu.header
    if CRKEY not in header:
        return ""
    hit = header.get(CRHITPIX, header.get(CRPIXELS))
    return f"hits found by {header.get(CRMODEL)}, threshold {header.get(CRTHRESH)}: {hit} pixels"
