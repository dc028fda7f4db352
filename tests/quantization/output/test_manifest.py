from __future__ import annotations

import pytest

pytest.importorskip("yaml")

from whichbits.quantization.output.manifest import GptqVsRtn, ModuleError, gptq_vs_rtn


def error(module: str, ours: float | None, nearest: float | None) -> ModuleError:
    return ModuleError(module=module, error=0.1, output_error=ours, rtn_output_error=nearest)


def test_modules_where_gptq_is_worse_are_listed_and_the_ratio_is_that_of_the_sums() -> None:
    found = gptq_vs_rtn([error("a", 1.0, 4.0), error("b", 3.0, 2.0), error("c", 1.0, 1.0), error("d", 0.0, 0.0)])
    assert found == GptqVsRtn(ratio=5 / 7, worse={"b": 1.5})


def test_without_gptq_there_is_nothing_to_compare() -> None:
    assert gptq_vs_rtn([error("a", None, None)]) is None
    assert gptq_vs_rtn([error("a", 0.0, 0.0)]) == GptqVsRtn(ratio=1.0, worse={})
