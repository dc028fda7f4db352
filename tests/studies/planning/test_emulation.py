"""Checkpoints of other tools' layouts are emulated by nobody, and a plan says so before anything runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.studies.planning.plan import Plan  # noqa: E402
from whichbits.studies.planning.planner import Expansion  # noqa: E402
from whichbits.studies.specification.schema import parse  # noqa: E402

Transform = Callable[[str, Any], dict[str, Any]]


def fp8(stem: str, weight: Any) -> dict[str, Any]:
    rows, columns = weight.shape
    scales = torch.ones(-(-rows // 128), -(-columns // 128))
    return {stem + "weight": weight.to(torch.float8_e4m3fn), stem + "weight_scale_inv": scales}


def gptq(stem: str, weight: Any) -> dict[str, Any]:
    rows, columns = weight.shape
    return {
        stem + "qweight": torch.ones(columns // 8, rows, dtype=torch.int32), stem + "g_idx": torch.zeros(columns).int(),
        stem + "qzeros": torch.ones(columns // 128, rows // 8, dtype=torch.int32),
        stem + "scales": torch.ones(columns // 128, rows).bfloat16(),
    }  # fmt: skip


def awq(stem: str, weight: Any) -> dict[str, Any]:
    rows, columns = weight.shape
    return {
        stem + "qweight": torch.ones(columns, rows // 8, dtype=torch.int32),
        stem + "qzeros": torch.ones(columns // 128, rows // 8, dtype=torch.int32),
        stem + "scales": torch.ones(columns // 128, rows).bfloat16(),
    }  # fmt: skip


FOREIGN: list[tuple[Transform, dict[str, Any]]] = [
    (fp8, {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}),
    (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}),
    (awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}),
]


def foreign(model: Path, folder: Path, transform: Transform, stated: dict[str, Any]) -> Path:
    """A copy of the model in another tool's layout."""
    shutil.copytree(model, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        tensors |= transform(name.removesuffix("weight"), tensors.pop(name))
    save_file(tensors, file, {"format": "pt"})
    fields = json.loads((folder / "config.json").read_text()) | {"quantization_config": stated}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def planned(model: Path, candidates: str = "[]", base_engine: str | None = None) -> Plan:
    engine = 'engine: {kind: url, urls: {bf16: "http://a", ready: "http://b"}}\n' if "served" in candidates else ""
    text = f"version: 1\nname: small\nmodel: {model}\ncandidates: {candidates}\ntasks: [order]\nmax_length: 256\n{engine}"
    return Expansion(*parse(text, "small.yaml"), base_engine=base_engine, ask_servers=False).plan()


@pytest.mark.parametrize(("transform", "stated"), FOREIGN, ids=["fp8", "gptq", "awq"])
def test_a_ready_candidate_of_another_tool(
    transform: Transform, stated: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    folder = foreign(tiny_llama, tmp_path / "ready", transform, stated)
    method = stated["quant_method"]
    said = f"line 4: candidates.0: {re.escape(str(folder))} cannot be emulated: .* quantized by {method}; .* served"
    for run in ("emulated", "both"):
        with pytest.raises(UserError, match=said):
            planned(tiny_llama, f"[{{checkpoint: {folder}, name: ready, run: {run}}}]  # not served")
    made = planned(tiny_llama, f"[{{checkpoint: {folder}, name: ready, run: served}}]")
    assert {one.step.labels.engine for one in made.steps} == {"url"}


def test_a_model_of_another_tool_alone(tiny_llama: Path, tmp_path: Path) -> None:
    folder = foreign(tiny_llama, tmp_path / "ready", *FOREIGN[0])
    with pytest.raises(UserError, match=r"line 3: model: .* cannot be emulated: .* quantized by fp8"):
        planned(folder, base_engine="emulated")
