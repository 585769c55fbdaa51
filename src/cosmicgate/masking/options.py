"""Options of a run of ``cosmicgate mask``: the same for each file of a batch."""

from dataclasses import dataclass

from cosmicgate.masking.inpainting import Method
from cosmicgate.masking.output_paths import Kind
from cosmicgate.masking.static_pixels import StaticPixels


@dataclass(frozen=True)
class MaskOptions:
    """Options for masking a file.

    Outputs are recognised by a hash of these fields, so a new name or field regenerates every output made before.

    Attributes
    ----------
    kind : {"mask", "append", "clean", "in-place"}
        Output: a file of masks, a copy with masks appended as HDUs, such a copy with its hits replaced, or a change of
        the input file itself.
    threshold : float
        Probability from which a pixel counts as hit.
    fpr : float, optional
        False-positive rate from which the threshold was derived.
    grow : int
        Number of pixels by which masks are dilated.
    cleaned : bool
        Replace hit pixels in the copy or in the input.
    method : str
        Replacement method, as in :func:`cosmicgate.clean`.
    probability : bool
        Write the probabilities as well.
    exts : tuple of str
        Images of each file, by name or number; empty: all.
    masked : bool
        Do not search pixels that masks in the file call bad.
    bit : str
        Bit that hits get in the file's own quality plane, given by value or pipeline; empty: none.
    mosaic : bool, optional
        Whether the images are colour mosaics; None: decided by their headers.
    """

    kind: Kind = "mask"
    threshold: float = 0.5
    fpr: float | None = None
    grow: int = 0
    cleaned: bool = False
    method: Method = "median"
    probability: bool = False
    exts: tuple[str, ...] = ()
    masked: bool = True
    bit: str = ""
    mosaic: bool | None = None

    @property
    def in_place(self) -> bool:
        """Whether the input file itself is changed."""
        return self.kind == "in-place"


@dataclass(frozen=True)
class BatchOptions:
    """Options for each file of a batch.

    Attributes
    ----------
    options : MaskOptions
        Options for masking a file.
    overwrite : bool
        As in :func:`~cosmicgate.masking.pipeline.mask_file`.
    static_pixels : StaticPixels, optional
        Static pixels of the night's detectors, which are not searched; None if the user wants no comparison of frames.
    """

    options: MaskOptions
    overwrite: bool = False
    static_pixels: StaticPixels | None = None
