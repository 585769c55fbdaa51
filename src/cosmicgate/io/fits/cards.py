"""Keywords of the FITS cards that this package writes; each constant is named after its keyword."""

from typing import Final

# Network and settings: in masks and in cleaned images.
CRMODEL: Final = "CRMODEL"  # name of the network
CRVERSN: Final = "CRVERSN"  # version of cosmicgate
CRTHRESH: Final = "CRTHRESH"  # probability from which a pixel counts as hit
CRHITPIX: Final = "CRHITPIX"  # number of hit pixels (CRPIX... is reserved for WCS)
CRPIXELS: Final = "CRPIXELS"  # the same, up to version 0.1.1
CRBIT: Final = "CRBIT"  # value of hit pixels

# Masks.
CRFPR: Final = "CRFPR"  # requested false-positive rate
CRGROW: Final = "CRGROW"  # pixels by which the mask was dilated
CRGOOD: Final = "CRGOOD"  # number of searched pixels
CRFRAC: Final = "CRFRAC"  # fraction of the searched pixels that are hit
CRWEIGHT: Final = "CRWEIGHT"  # SHA-256 of the network's weights
CROTHERS: Final = "CROTHERS"  # checksum of the image's pixels that are not hit
CRPRECIS: Final = "CRPRECIS"  # floating-point type of the computation
CRSCREEN: Final = "CRSCREEN"  # whether the cascade was used
CRENGINE: Final = "CRENGINE"  # whether onnxruntime was used
CRMOSAIC: Final = "CRMOSAIC"  # why the image is a colour mosaic
CRSTATPX: Final = "CRSTATPX"  # number of static pixels; in their plane

# Input and output: in masks, and in truth planes.
CRFILE: Final = "CRFILE"  # name of the input; also in the primary header
CRINPUT: Final = "CRINPUT"  # SHA-256 of the input
CRHDU: Final = "CRHDU"  # HDU number of the image in the input
CRKEY: Final = "CRKEY"  # hash of input and settings
CRETAG: Final = "CRETAG"  # the same, by the version of a remote input
CRNOSTAT: Final = "CRNOSTAT"  # the same, without the static pixels; of a file masked in place

# Labels that a person corrected.
CRBLIND: Final = "CRBLIND"  # whether no detector's mask was shown
CRSAVED: Final = "CRSAVED"  # identifier of one act of saving
CRFROM: Final = "CRFROM"  # origin of the labels of untouched pixels
