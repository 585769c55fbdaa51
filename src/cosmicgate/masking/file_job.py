"""Plan the masking of one file: what is read, what is written, and whether there is anything to do.

All rules about inputs and outputs that exist already are here.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cosmicgate.io.atomic import check_writable, file_state, sha256_of
from cosmicgate.io.fits.file_defects import collect_astropy_warnings, find_defects
from cosmicgate.io.fits.hdus import FitsError, missing, open_fits
from cosmicgate.io.object_stores import fetch, remote_info, version
from cosmicgate.io.urls import Address, Url
from cosmicgate.masking.existing_output import ExistingOutput, existing_output, output_key
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.output_paths import remove_stale_products
from cosmicgate.masking.read_images import images_of
from cosmicgate.masking.read_masks import changed_since_masked
from cosmicgate.masking.static_pixels import StaticPixels

OTHER_STATIC_PIXELS = (
    "its masks were made with other static pixels (other frames were compared, or none) and stay as they are: new ones "
    "need the original file"
)


@dataclass(eq=False)
class FileJob:
    """One file on its way through plan, detect and write. :func:`plan` fills it in; the other steps only read it.

    Attributes
    ----------
    source, target : Path or Url
        Input and output, as the user named them. They are the same if the file is masked in place.
    masker : CosmicRayMasker
        Detector.
    options : MaskOptions
        Form of the output, images to search, pixels to leave out, bit to set in the quality plane.
    overwrite : bool
        Replace any existing output.
    static_pixels : StaticPixels, optional
        Static pixels of the night's detectors, which are not searched; None if the user wants no comparison of frames.
    folder : Path
        Temporary folder for copies of remote files.
    existing : ExistingOutput
        What was found at the output path.
    key, version_key : str
        Keys of the output by the checksum of the input and by the version of a remote one; empty if not known.
    settings_key : str
        Key of a file that is masked in place by the settings alone, without the static pixels; empty for other outputs.
    version : str
        Version of a remote input when it was fetched.
    sha256 : str
        Checksum of the input.
    state : (int, int, int)
        State (:func:`~cosmicgate.io.atomic.file_state`) of the input before it was read.
    warnings : list of str
        Defects of the input that do not prevent it from being searched, masks of another input that are replaced, and
        other static pixels of masks that stay.
    """

    source: Address
    target: Address
    masker: CosmicRayMasker
    options: MaskOptions
    overwrite: bool = False
    static_pixels: StaticPixels | None = None
    folder: Path = Path()
    existing: ExistingOutput = field(default_factory=ExistingOutput)
    key: str = ""
    version_key: str = ""
    settings_key: str = ""
    version: str = ""
    sha256: str = ""
    state: tuple[int, int, int] = (0, 0, 0)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_remote(self) -> bool:
        """Whether input or output is a URL, so that local copies are needed."""
        return isinstance(self.source, Url) or isinstance(self.target, Url)

    @property
    def path(self) -> Path:
        """Local file to read: the input, or the copy that is fetched."""
        return self.source if isinstance(self.source, Path) else self.folder / "input" / self.source.name

    @property
    def output(self) -> Path:
        """Local file to write: the output, or the file that is uploaded."""
        if isinstance(self.target, Path):
            return self.target
        return self.path if self.options.in_place else self.folder / "output" / self.target.name

    @property
    def up_to_date(self) -> bool:
        """Check whether the output was made before from this input with these settings, and is left as it is.

        A file masked in place is also left if only the static pixels differ: its original pixels may be gone.
        """
        known = {self.key, self.version_key, self.settings_key} - {""}
        return bool(known & self.existing.keys) and (self.options.in_place or not self.overwrite)


def plan(job: FileJob) -> None:
    """Decide what is done with a file, and fetch a remote one unless its output is up to date.

    An output that is up to date (:attr:`FileJob.up_to_date`) stays. One made with other settings is regenerated, and so
    is one of another input, with a warning unless ``overwrite`` is given. What is refused, in this order:

    - an output that is its own input, unless masked in place;
    - a copy or change of a file that has masks already, as it would get them twice;
    - an output path with a file that is no product of this package, even if it was masked in place, unless
      ``overwrite`` is given;
    - a local output that cannot be written.

    The version of a remote input and the first headers of a remote output are compared before anything is fetched.

    Raises
    ------
    OSError, FitsError
        The input is missing or cannot be read, or the job is refused.
    """
    source, target, options = job.source, job.target, job.options
    if isinstance(target, Path):
        remove_stale_products(target)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(missing(source))
    if not options.in_place and _is_same(source, target):
        raise FitsError(f"{source}: the output would replace the input; use --in-place to change the input itself")
    if job.is_remote:
        _plan_by_version(job)
        if job.up_to_date:
            return
    _plan_by_content(job)


def _plan_by_version(job: FileJob) -> None:
    """Decide by the version of a remote input and the headers of a remote output; then fetch the input."""
    info = remote_info(job.source) if isinstance(job.source, Url) else {}
    job.version = version(info, job.source) if isinstance(job.source, Url) else ""
    if job.options.in_place:  # the version changes with the masks, so the file is recognised by these
        job.key = job.settings_key = output_key(job.masker, job.options, "")
    elif job.version:
        job.version_key = output_key(job.masker, job.options, job.version)
    if job.options.in_place or not job.overwrite:
        job.existing = existing_output(job.target, job.folder)
    if job.up_to_date:
        return
    _check_target(job)
    if isinstance(job.source, Url):
        job.path.parent.mkdir()
        fetch(job.source, job.path, info.get("size"))


def _plan_by_content(job: FileJob) -> None:
    """Decide by the checksum of the local input and the masks in it."""
    options = job.options
    job.state, job.sha256 = file_state(job.path), sha256_of(job.path)
    static = job.static_pixels.digest(job.source) if job.static_pixels else ""
    job.key = output_key(job.masker, options, "" if options.in_place else job.sha256, static)
    job.settings_key = output_key(job.masker, options, "") if options.in_place else ""
    if options.in_place or isinstance(job.target, Path):
        job.existing = existing_output(job.output)
    if job.up_to_date:
        if options.in_place:
            _refuse_changed_images(job)
            if job.key not in job.existing.keys or bool(static) != (job.existing.static is not None):
                job.warnings.append(OTHER_STATIC_PIXELS)
        return
    in_input = job.existing if options.in_place else existing_output(job.path) if options.kind != "mask" else None
    if in_input is not None and in_input.keys:
        raise FitsError(
            f"{job.source}: it has masks by cosmicgate already, made with other settings; give the original file"
        )
    _check_target(job)
    if job.existing.inputs == {job.sha256} and not (options.in_place or job.overwrite):
        if isinstance(job.target, Url):
            job.existing = existing_output(job.target, job.folder, all_masks=True)
        _refuse_to_lose_masks(job, static)
    job.warnings = find_defects(job.path)
    if not (options.in_place or job.overwrite) and job.existing.inputs - {job.sha256}:
        job.warnings.append(
            f"{job.target} replaces the masks of another file of this name, or of an earlier version of it"
        )


def _refuse_to_lose_masks(job: FileJob, static: str) -> None:
    """Raise FitsError if the output has masks, or static pixels, of the same input that this run does not make."""
    with collect_astropy_warnings([]), open_fits(job.path) as hdus:
        lost = job.existing.images - {extension.number for extension in images_of(job.path, hdus, job.options.exts)}
    if lost:
        numbers = ", ".join(map(str, sorted(lost)))
        raise FitsError(
            f"{job.source}: {job.target} has masks of other images of the file (HDU {numbers}), which would be lost: "
            "name all images with --ext, or another output; --overwrite replaces it"
        )
    if job.existing.static is not None and job.static_pixels is not None and not static:
        raise FitsError(
            f"{job.source}: {job.target} names static pixels, which only five frames of the detector or more show: "
            "mask these together, or give --no-static; --overwrite replaces it"
        )


def _refuse_changed_images(job: FileJob) -> None:
    """Raise FitsError if an image of a file that was masked in place was changed since."""
    with collect_astropy_warnings([]), open_fits(job.path) as hdus:
        for extension in images_of(job.path, hdus, job.options.exts):
            if changed_since_masked(extension, hdus):
                raise FitsError(
                    f"{job.source}: {extension.label} was changed since it was masked in place, so its mask is of "
                    "other pixels: remove the mask, or give the original file"
                )


def _is_same(source: Address, target: Address) -> bool:
    if isinstance(source, Path) and isinstance(target, Path):
        return target.exists() and target.samefile(source)
    return source == target


def _check_target(job: FileJob) -> None:
    """Raise FitsError if the output path has a file that may not be replaced, OSError if it cannot be written."""
    if job.existing.exists and not (job.existing.is_product or job.options.in_place or job.overwrite):
        raise FitsError(
            f"{job.source}: {job.target} exists and is not a known output of cosmicgate; --overwrite replaces it"
        )
    if isinstance(job.target, Path):
        check_writable(job.target)
