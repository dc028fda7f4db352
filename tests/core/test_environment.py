"""Variables of the shell that change arithmetic do not reach ours."""

from __future__ import annotations

import os

import pytest

from whichbits.core.environment import ARITHMETIC, drop_arithmetic


def test_what_changes_arithmetic_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ARITHMETIC:
        monkeypatch.delenv(name, raising=False)
    assert drop_arithmetic() == []
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert drop_arithmetic() == ["NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE"]
    assert not {*ARITHMETIC} & {*os.environ}
