"""``cosmicgate info``: how a FITS file is understood."""

from pathlib import Path
from typing import Annotated, Any

import typer
from astropy.io import fits

from cosmicgate.data.fits.hdus import HIT, NETWORK, FitsError, opened
from cosmicgate.data.fits.images import Extension, masks_beside, science
from cosmicgate.data.fits.instruments import telescope_of
from cosmicgate.masking.products.planes import saturation_of, uncertain_planes


def info(file: Annotated[Path, typer.Argument(help="A FITS file, .fz and .gz as well.", show_default=False)]) -> None:
    """Say how a file is understood: which of its HDUs are images, masks, uncertainties or masks of ours."""
    try:
        with opened(file) as hdus:
            lines = described(file, hdus)
    except (FitsError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for line in lines:
        typer.echo(line)


def described(path: Path, hdus: fits.HDUList) -> list[str]:
    """Return a line for the file and one for each of its HDUs."""
    try:
        images = science(path, hdus)
        none = ""
    except FitsError as error:
        images, none = [], str(error)
    telescope = telescope_of((hdus[0].header, *(hdu.header for hdu in hdus[1:2])), path)
    lines = [f"{path}: {len(hdus)} HDUs, {len(images)} images" + f", telescope {telescope}" * bool(telescope)]
    roles = _roles(path, hdus, images)
    for number, hdu in enumerate(hdus):
        shape = "x".join(str(side) for side in hdu.shape) if hdu.is_image and hdu.shape else "-"
        name = hdu.name.strip() or "-"
        lines.append(f"{number:4} {name:20} {shape:>12} {roles.get(number, 'not used')}")
    return lines + [none] * bool(none)


def _roles(path: Path, hdus: fits.HDUList, images: list[Extension]) -> dict[int, str]:
    """Return what HDUs are to us, by their numbers."""
    roles = {number: text for number, hdu in enumerate(hdus) if (text := _ours(hdu))}
    for image in images:
        saturation = saturation_of(path, image)
        notes = f"; saturated from {saturation:g}" if saturation is not None else ""
        notes += f"; its overscan {image.overscan} is not searched" if image.overscan else ""
        roles[image.number] = f"image{notes}"
        for number in masks_beside(hdus, image, images):
            fits_it = hdus[number].shape[-2:] == image.shape
            what = "its bad pixels are not searched" if fits_it else "of another shape, so not used"
            roles[number] = f"mask of {image.label}: {what}"
        for number, kind in uncertain_planes(hdus, image, images):
            roles[number] = f"uncertainty of {image.label} ({kind}): grows where --clean replaces"
    return roles


def _ours(hdu: Any) -> str:
    header = hdu.header
    if "CRKEY" not in header:
        return ""
    hit = header.get(HIT, header.get("CRPIXELS"))  # as it was called up to 0.1.1
    return f"hits by {header.get(NETWORK)}, threshold {header.get('CRTHRESH')}: {hit} pixels"
