from __future__ import annotations

from typing import Any

import pytest

from whichbits.errors import UserError
from whichbits.formats.format import fit, get, load, quantization_config
from whichbits.formats.recognize import recognize

MADE = [name for name, format in load().items() if not format.is_base]


@pytest.mark.parametrize("name", [*MADE, "w8a8-fp+kv-fp8", "w4a16-int+kv-fp8"])
def test_what_whichbits_writes_is_recognized(name: str) -> None:
    config = quantization_config(fit(get(name), [(256, 256)]), ["lm_head"])
    assert recognize({"quantization_config": config}).name == name


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({}, "bf16"),
        ({"quant_method": "gptq", "bits": 4, "sym": True}, "w4a16-int"),
        ({"quant_method": "gptq", "bits": 4, "sym": False}, "w4a16-int-asym"),
        ({"quant_method": "awq", "bits": 4, "zero_point": True}, "w4a16-int-asym"),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, "w4a16-int"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "w8a8-fp"),
    ],
)
def test_other_tools_checkpoints(stated: dict[str, Any], name: str) -> None:
    assert recognize({"quantization_config": stated}).name == name


def test_what_is_none_of_the_catalogues_is_refused() -> None:
    int3 = {"quant_method": "gptq", "bits": 3}
    with pytest.raises(UserError, match="none of the catalogue's formats"):
        recognize({"quantization_config": int3})
    config = quantization_config(fit(get("w8a8-fp"), [(256, 256)]), [])
    cache = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False}
    with pytest.raises(UserError, match="none of the catalogue's formats"):
        recognize({"quantization_config": {**config, "kv_cache_scheme": cache}})
