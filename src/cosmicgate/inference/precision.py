"""The floating-point types that a network can compute in."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def has_native_bfloat16() -> bool:
    """Check for native bfloat16 instructions; a processor that cannot be asked counts as having them."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch, which cannot tell
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last on ARM
