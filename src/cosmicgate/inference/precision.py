"""The floating-point types that a network can compute in."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def has_fast_bfloat16() -> bool:
    """Check whether bfloat16 is faster than float32; it counts as faster on a processor that cannot be asked.

    Processors with AVX-512 in float16 have AMX for bfloat16. If a virtual machine hides it, bfloat16 is slower.
    """
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch, which cannot tell
        return True
    capabilities = torch.cpu.get_capabilities()
    avx512 = capabilities.get("avx512_bf16") and not capabilities.get("avx512_fp16")
    return bool(avx512 or capabilities.get("amx_bf16") or capabilities.get("bf16"))  # the last on ARM
