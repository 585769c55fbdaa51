"""What a pixel of a truth mask means: one uint8 a pixel, the same in every data set.

========= ===== ======================================================================
SKY       0     no cosmic ray
CORE      1     the hit itself
RING      2     added around the core by the paper's 3x3 dilation
IGNORED   255   says nothing (bad column, edge, saturated star): never trained on, never scored
========= ===== ======================================================================
"""

from typing import Final, Literal

SKY: Final = 0
CORE: Final = 1
RING: Final = 2
IGNORED: Final = 255

# Which pixels a detector is asked to find. "dilated": core and ring are positives (the paper's convention).
# "core": core pixels are positives and the ring is left out of the count, neither right nor wrong.
Convention = Literal["dilated", "core"]
