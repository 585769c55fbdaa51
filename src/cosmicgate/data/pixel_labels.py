"""Codes of the pixels of a truth mask (uint8), the same in every data set.

========= ===== ======================================================================
SKY       0     no cosmic ray
CORE      1     the hit itself
RING      2     added around the core by the paper's 3x3 dilation
IGNORED   255   unknown (bad column, edge, saturated star): never trained on, never scored
========= ===== ======================================================================
"""

from typing import Final, Literal

import numpy as np

SKY: Final = 0
CORE: Final = 1
RING: Final = 2
IGNORED: Final = 255

TRUTH_UNKNOWN: Final = 3  # what the HDU TRUTH of a file has in place of IGNORED

KERNEL_3X3 = np.ones((3, 3), bool)  # a pixel and its eight neighbours: those touch it, and make its ring

# Which pixels count as positives. "dilated": core and ring (the paper's convention).
# "core": the core alone; ring pixels are left out of the count, neither positive nor negative.
Convention = Literal["dilated", "core"]
