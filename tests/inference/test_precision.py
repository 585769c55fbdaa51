"""Test the choice of the floating-point type by the processor."""

import pytest
import torch

from cosmicgate.inference.precision import has_fast_bfloat16


@pytest.mark.parametrize(
    ("instructions", "fast"),
    [
        ((), False),
        (("avx2",), False),
        (("avx512_bf16",), True),
        (("avx512_bf16", "avx512_fp16"), False),  # its AMX is hidden
        (("avx512_bf16", "avx512_fp16", "amx_bf16"), True),
        (("bf16",), True),  # ARM
    ],
)
def test_bfloat16_is_fast_with_amx_on_arm_and_with_avx512_before_float16(instructions, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    assert has_fast_bfloat16() == fast
