from __future__ import annotations

import pytest

from whichbits.formats.catalogue import catalogue, load, load_kv_caches, without_kernel
from whichbits.formats.kernels import EngineKernel, minimal_compute_capability

ROW = EngineKernel(
    engine="vllm",
    devices=("cuda", "cpu"),
    formats=("w4a16-int",),
    capability=(7.5, 9.0),
    status="native",
    reason="x",
    seen="read",
)


def test_rows_name_what_the_catalogue_has_and_where_it_is_said() -> None:
    names = {*load(), *load_kv_caches()}
    for row in catalogue().kernels:
        assert set(row.formats) <= names
        assert row.reason
        assert bool(row.capability) == (bool(row.formats) and "cuda" in row.devices), row
        assert not row.formats or (row.source and row.status == "native"), row
        assert row.kernel or row.formats, row
    assert all(catalogue().elsewhere.values())


def test_a_row_runs_what_it_names_where_it_says() -> None:
    assert [ROW.runs("w4a16-int", "cuda", capability) for capability in (7.0, 7.5, 9.0, 10.0)] == [False, True, True, False]
    assert ROW.runs("w4a16-int", "cpu", 0.0)
    assert not ROW.runs("w4a16-int", "rocm", 9.0)
    assert not ROW.runs("w8a8-int", "cpu", 0.0)
    assert not ROW.model_copy(update={"status": "reference"}).runs("w4a16-int", "cpu", 0.0)


def test_the_minimal_capability_is_the_lowest_of_all_rows() -> None:
    lower = ROW.model_copy(update={"capability": (10.0, 99.0)})
    assert minimal_compute_capability([lower, ROW], "w4a16-int") == "7.5"
    assert minimal_compute_capability([lower], "w4a16-int") == "10.0"
    assert minimal_compute_capability([ROW], "w8a8-int") is None


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("bf16", "8.0"), ("fp16", "7.0"), ("w8a8-fp", "8.9"), ("w8a8-int", "7.5"), ("w4a16-int", "7.5"), ("w4a8-int", None),
        ("w4a8-int-packed", "7.5"), ("w4a8-fp", "9.0"), ("fp8-block", "8.9"), ("nvfp4", "10.0"), ("nvfp4a16", "7.5"),
    ],
)  # fmt: skip
def test_minimal_capabilities_of_formats(name: str, capability: str | None) -> None:
    assert load()[name].minimal_compute_capability == capability


def test_a_format_with_a_cache_needs_kernels_for_both() -> None:
    assert without_kernel("int8+kv-fp8", "cuda", 8.0) is None
    assert "FP8 cache" in (without_kernel("w8a8-int+kv-fp8", "cuda", 7.5) or "")
    assert "Blackwell" in (without_kernel("w8a8-int+kv-fp8", "cuda", 10.0) or "")
    assert without_kernel("w8a8-int", "npu", 0.0) is None
