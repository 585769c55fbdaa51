"""Plan an adaptation: what the given exposures are, which of them can be compared, and what is missing."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from cosmicgate.adaptation.corrections import find_corrections
from cosmicgate.data.labelled_exposures import check_detector
from cosmicgate.data.labelling.alignment import AlignmentMethod
from cosmicgate.data.labelling.fields import (
    NOISE_RATIO,
    ExposureSummary,
    Field,
    from_json,
    group,
    has_pedestal,
    kinds_of,
    noise_ratio,
    summarize,
    to_json,
)
from cosmicgate.data.labelling.multi_exposure import read_exposure
from cosmicgate.data.labelling.same_camera import Fingerprint, check_distinct
from cosmicgate.data.sources.files import file_fingerprint
from cosmicgate.data.sources.frames_with_truth import dark_overrides
from cosmicgate.io.atomic import sha256_of, write_json
from cosmicgate.io.messages import with_progress
from cosmicgate.masking.output_paths import inputs_of
from cosmicgate.pretrained.card import CARD
from cosmicgate.pretrained.load import model_file
from cosmicgate.pretrained.registry import pretrained_names

PLAN = "plan.json"
DARK_KINDS = ("dark", "bias", "zero")  # parts of what headers call darks
SAME_EXPTIME = 0.01  # maximum relative difference of the exposure times of a dark and an exposure it is subtracted from

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """Request of an adaptation; the same one in the same folder resumes.

    Attributes
    ----------
    frames, darks : sequence of str
        Exposures and darks, FITS files or folders of them; absolute paths.
    start : str
        Network to start from.
    group : sequence of str
        Header keywords, or "folder", whose values name the field of an exposure; empty: fields are found.
    header_overrides : mapping
        Values that override the headers: gain, read_noise, saturation, exptime.
    thickness, pixel_size : float, optional
        Thickness and pixel size of the detector, micrometres; if given, simulated hits are added as well.
    align : {"auto", "wcs", "stars"}
        Method of alignment, as in :class:`~cosmicgate.data.labelling.alignment.Alignment`.
    seed : int
        Seed of all random draws.
    settings : sequence of str
        Values of ``training.yaml``, as KEY=VALUE.
    ext : str
        Image of each file, by EXTNAME, number or ``NAME,VERSION``; empty if there is only one.
    static : bool
        Find the static pixels of a detector by comparing all of its exposures, if they are five or more.
    truth : str, optional
        Folder of the manual labels that ``cosmicgate view`` has saved; None: they are beside the exposures.
    """

    frames: Sequence[str]
    darks: Sequence[str] = ()
    start: str = "general"
    group: Sequence[str] = ()
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    thickness: float | None = None
    pixel_size: float | None = None
    align: AlignmentMethod = "auto"
    seed: int = 0
    settings: Sequence[str] = ()
    ext: str = ""
    static: bool = True
    truth: str | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: expected a whole number from 0 on")
        if self.align not in get_args(AlignmentMethod):
            raise ValueError(f"align={self.align!r}: expected one of {', '.join(get_args(AlignmentMethod))}")
        check_detector(self.thickness, self.pixel_size)


@dataclass(frozen=True)
class Plan:
    """Fields that were found, those that cannot be compared included, the darks, and the manual labels."""

    request: Request
    fields: list[Field]
    darks: list[dict[str, Any]]  # path, identity, shape, exptime, level (counts)
    corrections: list[dict[str, Any]] = field(default_factory=list)  # frame, path, identity, other_images

    @property
    def usable(self) -> list[Field]:
        """Fields whose exposures can be compared."""
        return [one for one in self.fields if not one.reason]

    @cached_property
    def lines(self) -> list[str]:
        """List what was found, what is left out and what is missing, a line each."""
        exposures = [one for each in self.fields for one in each.exposures]
        found = f"{len(exposures)} exposures of {len(self.fields)} field(s)"
        times = [dark["exptime"] for dark in self.darks]
        darks = f", {len(times)} dark(s) of {_range(times)} s" if times else ""
        lines = [f"found {found}{darks}", *(f"  {one}" for one in self.usable)]
        values = {"gain": "electrons per count", "read_noise": "electrons", "saturation": "counts"}
        lines += [
            f"{key.replace('_', ' ')}: {_range([getattr(one, key) for one in exposures])} {unit}, "
            f"{'as given' if key in self.request.header_overrides else 'from the headers'}"
            for key, unit in values.items()
        ]
        unused = [one["path"] for one in self.corrections if one.get("other_images")]
        used = len(self.corrections) - len(unused)
        lines += [f"manual labels: {used} exposure(s)"] if used else []
        lines += [f"note: the manual labels in {path} are of other images of the file: not used" for path in unused]
        lines += [f"left out: {one.name}: {one.reason}" for one in self.fields if one.reason]
        return lines + self._missing(exposures)

    def _missing(self, exposures: Sequence[ExposureSummary]) -> list[str]:
        """List what would make the labels or the training frames better."""
        lines = []
        ratio = noise_ratio(exposures)
        if not NOISE_RATIO[0] <= ratio <= NOISE_RATIO[1]:
            why = "is the read noise lower, the gain higher, or a bias in the level (--darks)?"
            why = "is the sky subtracted, or the gain lower?" if ratio > 1 else why
            expected = "that expected from gain, read noise and sky level"
            lines.append(f"note: the measured sky noise is {ratio:.2f} times {expected}: {why}")
        if reduced := [one for one in exposures if not has_pedestal(one.sky, one.noise, self.dark_level(one.exptime))]:
            sky = f"the sky of {len(reduced)} exposures ({_range([one.sky for one in reduced])} counts)"
            level = f"the level of the darks ({self.dark_level(reduced[0].exptime):.4g})"
            lines.append(f"note: {sky} is below {level}: they count as reduced, no dark is subtracted from them")
        if not self.darks:
            lines.append("missing: darks, from which more hits could be taken (--darks)")
        elif not all(self.matching_darks(one.exptime) for one in exposures):
            missing = "missing: darks of the exposures' own exposure time"
            lines.append(f"{missing}, which could be subtracted for labelling; of the others, only the level is")
        if self.request.thickness is None:
            lines.append("missing: thickness and pixel size of the detector, to simulate hits (--thickness)")
        return lines

    def matching_darks(self, exptime: float) -> list[Path]:
        """List the darks that can be subtracted from an exposure."""
        return [Path(one["path"]) for one in self.darks if abs(one["exptime"] - exptime) <= SAME_EXPTIME * exptime]

    def dark_level(self, exptime: float) -> float:
        """Compute the level of the darks whose exposure time is nearest to this one, counts; 0 if there are none."""
        return _level(self.darks, exptime)


def make_plan(request: Request) -> Plan:
    """Read and measure all exposures and darks, and group the exposures by field.

    Raises
    ------
    ValueError
        If a file cannot be used, an exposure is given twice, or no field can be compared; the message says why.
    """
    frames, darks = input_files(request.frames, "exposures"), input_files(request.darks, "darks")
    if both := set(frames) & set(darks):
        raise ValueError(f"{both.pop()} is given as an exposure and as a dark")
    fingerprints: list[Fingerprint] = []
    read = []
    for path in darks:
        about, fingerprint = _dark(path, request.header_overrides, request.ext)
        read.append(about)
        fingerprints.append(fingerprint)
    root = Path(os.path.commonpath([path.resolve().parent for path in frames] or [Path()]))
    found: list[ExposureSummary] = []
    wrong: list[str] = []
    for path in with_progress(frames, "plan", "measured", "exposure"):
        try:
            one, fingerprint = summarize(
                path, request.header_overrides, request.group, partial(_level, read), request.ext, root
            )
        except ValueError as error:
            wrong.append(str(error))
        else:
            found.append(one)
            fingerprints.append(replace(fingerprint, name=str(path)))
    if wrong:
        more = f" ({len(wrong) - 1} more files have such an error)" if len(wrong) > 1 else ""
        given = " (here: --gain, --read-noise, --saturation, --exptime)" if "the header lacks" in wrong[0] else ""
        raise ValueError(f"{wrong[0]}{given}{more}")
    check_distinct(fingerprints)
    corrections = find_corrections([one.path for one in found], request.truth, request.ext)
    plan = Plan(request, group(found), read, corrections)
    if not plan.usable:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in plan.fields)
        raise ValueError(f"no field can be compared: {reasons}")
    shapes = {tuple(one.exposures[0].shape) for one in plan.usable} | {tuple(dark["shape"]) for dark in read}
    if len(shapes) > 1:
        text = " and ".join(f"{rows} x {columns}" for rows, columns in sorted(shapes))
        raise ValueError(f"expected frames of one camera, with one shape, got {text} px: adapt to one at a time")
    return plan


def read_or_make_plan(request: Request, folder: Path) -> Plan:
    """Read the plan in a folder, or make it and write it.

    Raises
    ------
    ValueError
        If the folder has a plan of other files, settings or weights, or other files than those of an adaptation.
    """
    asked, file = _as_plain_values(request), folder / PLAN
    started_from = sha256_of(model_file(request.start))
    if not file.is_file():
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ValueError(f"{folder} has other files in it: choose another folder")
        plan = make_plan(request)
        content = {"request": asked, "start": started_from, "fields": to_json(plan.fields), "darks": plan.darks}
        write_json(file, content | {"corrections": plan.corrections})
        return plan
    content = json.loads(file.read_text())
    advice = "choose another folder, or remove this one"
    if text := _change(content["request"], asked):
        raise ValueError(f"{folder} was started with other settings ({text}): {advice}")
    if content.get("start", started_from) != started_from and not card_file(folder).is_file():
        raise ValueError(f"the network {request.start} has changed since {folder} was started: {advice}")
    plan = Plan(request, from_json(content["fields"]), content["darks"], content.get("corrections", []))
    exposures = [one for each in plan.fields for one in each.exposures]
    known = {one.path: one.identity for one in exposures} | {one["path"]: one["identity"] for one in plan.darks}
    for path, state in known.items():
        if file_fingerprint(Path(path)) != state:
            raise ValueError(f"{path} has changed since {folder} was started: {advice}")
    for given in (*input_files(request.frames, "exposures"), *input_files(request.darks, "darks")):
        if str(given) not in known:
            raise ValueError(f"{given} was added after {folder} was started: {advice}")
    if find_corrections([one.path for one in exposures], request.truth, request.ext) != plan.corrections:
        raise ValueError(f"manual labels were saved or changed after {folder} was started: {advice}")
    return plan


def _as_plain_values(request: Request) -> dict[str, Any]:
    """Convert a request to the values of the plan's file, where the overrides are called ``known``."""
    values = {"known" if key == "header_overrides" else key: value for key, value in asdict(request).items()}
    return cast(dict[str, Any], json.loads(json.dumps(values)))


def check_output(folder: Path) -> None:
    """Raise ValueError if the path of the output folder is a file, or has the name of a network of the package."""
    if folder.name in pretrained_names():
        raise ValueError(f"{folder}: a network of the package is called {folder.name!r}: choose another name")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: expected a folder for the network")


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe what differs in a request, of lists only the values that are not in both; empty if nothing differs."""
    before, now = ({key: one[key] for key in one if key != "known"} | one["known"] for one in (before, now))
    for key in {**now, **before}:
        new, old = now.get(key), before.get(key)
        if new != old:
            if isinstance(new, list) and isinstance(old, list) and set(new) != set(old):
                new, old = [one for one in new if one not in old], [one for one in old if one not in new]
            return f"{key} is {_short(new)} and was {_short(old)}"
    return ""


def card_file(folder: Path) -> Path:
    """Name the card of the adapted network, which is written last."""
    return folder / f"{folder.resolve().name}{CARD}"


def input_files(given: Sequence[str], what: str) -> list[Path]:
    """List the files that are given, folders expanded; none may be given twice."""
    found: list[Path] = []
    for text in given:
        path = Path(text)
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {str(path)!r}")
        inside = [Path(str(one)) for one, _ in inputs_of([path])[0]]
        if not inside:
            raise ValueError(f"{path}: expected {what}, found no FITS file")
        found += inside
    resolved = [path.resolve() for path in found]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise ValueError(f"{found[number]} is given twice: expected {what} that differ")
    return found


def _dark(path: Path, header_overrides: Mapping[str, float], ext: str) -> tuple[dict[str, Any], Fingerprint]:
    """Describe a dark, and take its fingerprint; the noise is left out, as darks share hot pixels."""
    for card, kind in kinds_of(path).items():
        if kind and not any(word in kind for word in DARK_KINDS):
            raise ValueError(f"{path}: its {card} is {kind}: expected a dark, which --darks takes alone")
    dark = read_exposure(path, ext, **dark_overrides(path, ext, header_overrides))
    frame = dark.frame
    level = float(np.median(frame.image[~frame.bad]))
    about = {"shape": list(frame.shape), "exptime": frame.exptime, "level": level}
    fingerprint = replace(Fingerprint.of(dark), name=str(path), noise=np.empty(0, np.float32))
    return {"path": str(path), "identity": file_fingerprint(path)} | about, fingerprint


def _level(darks: Sequence[Mapping[str, Any]], exptime: float) -> float:
    apart = [abs(dark["exptime"] - exptime) for dark in darks]
    nearest = [dark["level"] for dark, one in zip(darks, apart, strict=True) if one == min(apart)]
    return float(np.median(nearest)) if nearest else 0.0


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
