"""Measure exposures before they are compared, and group those of one field."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.stats import gaussian_sigma_to_fwhm, mad_std
from astropy.wcs.utils import proj_plane_pixel_scales

from cosmicgate.data.labelling.alignment import celestial
from cosmicgate.data.labelling.multi_exposure import read_exposure
from cosmicgate.data.labelling.reference_frame import SkySubtracted
from cosmicgate.data.labelling.same_camera import MAX_EXPTIME_DIFFERENCE, Fingerprint, filter_of
from cosmicgate.data.sources.files import file_fingerprint
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import header_value, open_fits

with extra("label"):
    import sep

MIN_EXPOSURES = 3  # minimum number of exposures of a field
STAR_SIGMAS, STAR_PIXELS = 5.0, 5  # detection threshold and minimum number of pixels of a star
MIN_STAR_SMOOTHNESS = 0.5  # fraction of a star's peak left after 3x3 smoothing; hot pixels and most hits have less
MIN_STARS = 3  # from which exposures are aligned, and widths are measured
MIN_TRAIL_ELONGATION = 2.0  # ratio of length to width from which stars are trailed
MIN_TRAIL = 3.0  # pixels, minimum FWHM along a trail
SAME_POINTING = 0.5  # maximum distance of the pointings of a field, as a fraction of the image's shorter side
SEPARATION = 0.1  # degrees, maximum distance of the pointings of a field if the pixel scale is unknown
NOISE_RATIO = (0.85, 1.2)  # usual ratios of the sky's noise to that expected from gain, read noise and level
MIN_NOISE_RATIO = 0.5  # ratio below which hits would be missed, and labelled as sky
KINDS = ("IMAGETYP", "OBSTYPE")  # cards with the kind of a frame
NO_SKY = ("zero", "arc", "lamp", "twilight")  # beginnings of the values of KINDS of frames without stars
NO_SKY_PARTS = ("dark", "bias", "flat")  # parts of these values: SKYFLAT, master dark
BY_FOLDER = "folder"  # word that groups exposures by their folder, among keywords of the header


@dataclass(frozen=True)
class ExposureSummary:
    """Properties of an exposure.

    Attributes
    ----------
    path : str
        File.
    identity : list
        Name, size and modification time of the file.
    shape : list of int
        Rows and columns.
    filter, target : str
        Filter and object by the header; empty if it has none.
    exptime, gain, read_noise, saturation : float
        As in :class:`~cosmicgate.io.fits.frames.Frame`.
    pointing : list of float, or None
        Right ascension and declination of the centre, degrees.
    scale : float or None
        Size of a pixel, degrees.
    sky : float
        Level of the sky, counts.
    noise, expected_noise : float
        Sigma of the sky, counts: as measured, and as expected from gain, read noise and level.
    stars : int
        Number of stars.
    fwhm, elongation : float or None
        Their median FWHM, pixels, and ratio of length to width; None if there are too few.
    group : str
        Name of the group that the user chose; empty for none.
    """

    path: str
    identity: list[Any]
    shape: list[int]
    filter: str
    target: str
    exptime: float
    gain: float
    read_noise: float
    saturation: float
    pointing: list[float] | None
    scale: float | None
    sky: float
    noise: float
    expected_noise: float
    stars: int
    fwhm: float | None
    elongation: float | None
    group: str = ""

    @property
    def is_trailed(self) -> bool:
        """Whether the stars are trails."""
        long = self.fwhm is not None and self.elongation is not None
        return long and self.elongation > MIN_TRAIL_ELONGATION and self.fwhm * self.elongation**0.5 > MIN_TRAIL  # type: ignore[operator]


def summarize(
    path: Path,
    header_overrides: Mapping[str, float],
    group: Sequence[str] = (),
    dark_level: Callable[[float], float] | None = None,
    ext: str = "",
    root: Path | None = None,
) -> tuple[ExposureSummary, Fingerprint]:
    """Measure an exposure, and take its fingerprint.

    Parameters
    ----------
    path : Path
        FITS file with one image, or with several if ``ext`` is given.
    header_overrides : mapping
        Values that override the header: gain, read_noise, saturation, exptime.
    group : sequence of str
        ``folder``, or header keywords, whose values name the field.
    dark_level : callable, optional
        Function of the exposure time that gives the level of the darks, counts, which is no light.
    ext : str
        Image, by EXTNAME, number or ``NAME,VERSION``; empty if there is only one.
    root : Path, optional
        Folder of all exposures, below which their folders name their fields; None: the last folder does.

    Raises
    ------
    ValueError
        If the file is no exposure of the sky, or a value is missing.
    """
    for card, kind in kinds_of(path).items():
        if kind.startswith(NO_SKY) or any(word in kind for word in NO_SKY_PARTS):
            raise ValueError(
                f"{path}: its {card} is {kind}: expected exposures of the sky; give each dark, or their folder, "
                "with --darks"
            )
    exposure = read_exposure(path, ext, **header_overrides)
    frame, header = exposure.frame, exposure.header
    level = SkySubtracted.of(frame)
    image = frame.image[~frame.bad]
    sky, noise = float(np.median(image)), float(mad_std(image))
    pedestal = dark_level(frame.exptime) if dark_level else 0.0
    stars, fwhm, elongation = _stars(level)
    pointing, scale = _pointing(header, frame.shape)
    one = ExposureSummary(
        path=str(path),
        identity=file_fingerprint(path),
        shape=list(frame.shape),
        filter=filter_of(header, frame.band),
        target=str(header_value(header, "OBJECT") or "").strip(),
        exptime=frame.exptime,
        gain=frame.gain,
        read_noise=frame.read_noise,
        saturation=frame.saturation,
        pointing=pointing,
        scale=scale,
        sky=sky,
        noise=noise,
        expected_noise=_expected_noise(frame, sky - (pedestal if has_pedestal(sky, noise, pedestal) else 0)),
        stars=stars,
        fwhm=fwhm,
        elongation=elongation,
        group=_group(path, header, group, root),
    )
    return one, Fingerprint.of(exposure)


def kinds_of(path: Path) -> dict[str, str]:
    """Read what the headers of a file call its kind, in lower case, by card; empty where they do not say."""
    with open_fits(path) as hdus:
        values = {card: next((v for hdu in hdus if (v := header_value(hdu.header, card))), "") for card in KINDS}
    return {card: str(value).strip().lower() for card, value in values.items()}


def has_pedestal(sky: float, noise: float, pedestal: float) -> bool:
    """Check whether a sky level can include that of the darks; it does not if they were subtracted before."""
    return sky > pedestal - 3 * noise


def _expected_noise(frame: Frame, sky: float) -> float:
    """Compute the sigma of a sky, in counts like its level, from gain and read noise."""
    return float(np.hypot(frame.read_noise, np.sqrt(max(sky, 0) * frame.gain)) / frame.gain)


def noise_ratio(exposures: Sequence[ExposureSummary]) -> float:
    """Compute the median ratio of the measured sky noise to the expected one; 1 if none is expected."""
    return float(np.median([one.noise / one.expected_noise for one in exposures if one.expected_noise] or [1]))


def _stars(level: SkySubtracted) -> tuple[int, float | None, float | None]:
    """Count the stars of an exposure; measure their median FWHM, pixels, and elongation."""
    bad = ~np.isfinite(level.signal)
    data = np.ascontiguousarray(np.where(bad, 0, level.signal))
    sep.set_extract_pixstack(max(300_000, data.size))
    noise = np.ascontiguousarray(np.sqrt(level.variance))
    found = sep.extract(data, STAR_SIGMAS, err=noise, mask=bad, minarea=STAR_PIXELS)
    found = found[found["cpeak"] > MIN_STAR_SMOOTHNESS * found["peak"]]
    if len(found) < MIN_STARS:
        return len(found), None, None
    bright = found[np.argsort(found["flux"])[::-1][: max(MIN_STARS, len(found) // 2)]]
    fwhm = gaussian_sigma_to_fwhm * np.median(np.sqrt(bright["a"] * bright["b"]))
    return len(found), float(fwhm), float(np.median(bright["a"] / np.maximum(bright["b"], 0.1)))


def _pointing(header: fits.Header, shape: tuple[int, int]) -> tuple[list[float] | None, float | None]:
    """Read the pointing and the size of a pixel, degrees, from the WCS, solved or not, or from RA and DEC."""
    try:
        wcs = celestial(header, solved=False)
        if wcs is not None:
            middle = wcs.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2).icrs
            return [float(middle.ra.deg), float(middle.dec.deg)], float(np.mean(proj_plane_pixel_scales(wcs)))
    except Exception:  # wcslib raises errors of many classes: an unreadable WCS counts as none
        pass
    words = [header_value(header, word) for word in ("RA", "DEC")]
    if None in words:
        return None, None
    hours = units.hourangle if isinstance(words[0], str) and re.search(r"[: ]", words[0].strip()) else units.deg
    try:
        place = SkyCoord(words[0], words[1], unit=(hours, units.deg))
    except (ValueError, TypeError):
        return None, None
    return [float(place.ra.deg), float(place.dec.deg)], None


def _group(path: Path, header: fits.Header, words: Sequence[str], root: Path | None) -> str:
    """Name the group of an exposure by its folder or by values of its header."""
    folder = path.resolve().parent
    inside = folder.name if root in (None, folder) else folder.relative_to(root).as_posix()
    values = [inside if word == BY_FOLDER else header_value(header, word) for word in words]
    missing = [word for word, value in zip(words, values, strict=True) if value is None]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(missing)} in the header, which --group names")
    return " ".join(str(value).strip() for value in values)


@dataclass(frozen=True)
class Field:
    """Exposures of one field, and the reason why they cannot be compared; empty if they can."""

    name: str
    exposures: list[ExposureSummary]
    reason: str = ""

    def __str__(self) -> str:
        """Describe the field in a line."""
        first, shapes = self.exposures[0], {" x ".join(map(str, one.shape)) for one in self.exposures}
        fwhm = [one.fwhm for one in self.exposures if one.fwhm is not None]
        parts = [
            f"{len(self.exposures)} exposures of {first.exptime:.3g} s",
            f"filter {first.filter or 'unknown'}",
            f"{', '.join(sorted(shapes))} px",
            f"sky {_range([one.sky for one in self.exposures])} counts",
            f"noise {_range([one.noise for one in self.exposures])}",
            f"{_range([one.stars for one in self.exposures])} stars",
            f"FWHM {_range(fwhm)} px" if fwhm else "FWHM unknown",
        ]
        return f"{self.name}: {', '.join(parts)}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def group(exposures: Sequence[ExposureSummary]) -> list[Field]:
    """Group exposures by field: by the user's groups, else by pointing, filter, shape and exposure time.

    A field whose exposures cannot be compared has the reason.
    """
    fields: list[list[ExposureSummary]] = []
    for one in exposures:
        same = next((members for members in fields if _same_field(members[0], one)), None)
        if same is None:
            fields.append([one])
        else:
            same.append(one)
    names: list[str] = []
    for members in fields:
        name = _name(members[0])
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return [Field(name, members, _reason(members)) for name, members in zip(names, fields, strict=True)]


def _same_field(one: ExposureSummary, other: ExposureSummary) -> bool:
    if one.group or other.group:
        return one.group == other.group
    alike = one.shape == other.shape and one.filter == other.filter
    if not alike or abs(one.exptime - other.exptime) > MAX_EXPTIME_DIFFERENCE * one.exptime:
        return False
    return _same_sky(one, other, SAME_POINTING * min(one.shape))


def skies_of(fields: Sequence[Field]) -> dict[str, str]:
    """Name the sky of each field by the first of those that overlap, also by way of others, and show the same stars."""
    skies: dict[str, str] = {}
    for number, one in enumerate(fields):
        first, longer = one.exposures[0], max(one.exposures[0].shape)
        same = {skies[two.name] for two in fields[:number] if _same_sky(first, two.exposures[0], longer)}
        name = next((sky for sky in skies.values() if sky in same), one.name)
        skies = {key: name if sky in same else sky for key, sky in skies.items()} | {one.name: name}
    return skies


def _same_sky(one: ExposureSummary, other: ExposureSummary, reach: float) -> bool:
    """Check whether the pointings of two exposures are closer than ``reach`` pixels; without them, for one target."""
    if one.pointing is None or other.pointing is None:
        return one.pointing == other.pointing and one.target == other.target
    here, there = (SkyCoord(*place, unit="deg") for place in (one.pointing, other.pointing))
    most = reach * one.scale if one.scale else SEPARATION
    return bool(here.separation(there).deg < most)


def _name(first: ExposureSummary) -> str:
    """Name a field, in characters that file names can have."""
    name = first.group or "-".join(part for part in (first.target, first.filter, f"{first.exptime:.3g}s") if part)
    return re.sub(r"[^\w.+]+", "-", name).strip("-.") or "field"


def _reason(members: Sequence[ExposureSummary]) -> str:
    """Find the reason why exposures cannot be compared; empty if they can."""
    if len(members) < MIN_EXPOSURES:
        few = ", ".join(Path(one.path).name for one in members)
        return f"expected {MIN_EXPOSURES} exposures or more of a field, got {len(members)} ({few})"
    if not all(one.exptime > 0 for one in members):
        return f"expected exposures of some seconds, got {min(one.exptime for one in members):g} s"
    shapes = sorted({f"{rows} x {columns}" for rows, columns in (one.shape for one in members)})
    if len(shapes) > 1:
        return f"expected exposures of one shape, got {' and '.join(shapes)} px"
    filters = sorted({one.filter for one in members})
    if len(filters) > 1:
        return f"expected exposures in one filter, got {' and '.join(map(repr, filters))}"
    times = [one.exptime for one in members]
    if max(times) > (1 + MAX_EXPTIME_DIFFERENCE) * min(times):
        return f"expected exposures of one time, got {min(times):g} and {max(times):g} s"
    if all(one.stars < MIN_STARS for one in members):
        return f"no exposure shows {MIN_STARS} stars, by which the exposures could be aligned"
    if all(one.is_trailed for one in members):
        long = float(np.median([one.elongation for one in members if one.elongation is not None]))
        return f"the stars of all exposures are trailed ({long:.1f} times as long as wide), so they cannot be compared"
    if (ratio := noise_ratio(members)) < MIN_NOISE_RATIO:
        why = "give the darks if the level has a bias, or the right gain and read noise"
        return f"the sky noise is {ratio:.2f} times that expected from gain, read noise and sky level: {why}"
    return ""


def to_json(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """Convert fields to plain values."""
    return [asdict(one) for one in fields]


def from_json(values: Sequence[Mapping[str, Any]]) -> list[Field]:
    """Convert the values of :func:`to_json` back."""
    return [Field(one["name"], [ExposureSummary(**each) for each in one["exposures"]], one["reason"]) for one in values]
