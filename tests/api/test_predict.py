"""`whichbits.predict` and its kin: typed answers in full precision."""

from pathlib import Path

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import _names, catalogue

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_each_format_has_its_prediction_and_its_speedup() -> None:
    base, quick, refused = whichbits.predict(
        LLAMA, format=["bf16", "w4a16-int", "w8a8-fp"], hardware="A100", workload="256/128"
    )
    assert quick.speedup is not None
    low, high = quick.speedup.intervals[80]
    assert low < quick.speedup.value < high
    assert quick.speedup.value == pytest.approx(base.prediction.latency_s / quick.prediction.latency_s, rel=1e-12)
    assert base.speedup is None
    assert "no FP8 tensor cores" in refused.prediction.reason
    assert {answer.prediction.provenance for answer in (base, quick, refused)} == {"predicted"}


def test_an_unknown_format_and_a_model_without_a_name_are_refused() -> None:
    with pytest.raises(UserError, match="w9"):
        whichbits.predict(LLAMA, format=["w9"], hardware="A100", workload="rag")
    with pytest.raises(UserError, match="workload"):
        whichbits.predict(LLAMA, hardware="A100", workload="")


def test_a_ranking_shows_what_each_format_gains_on_its_device() -> None:
    ranked = whichbits.rank_hardware(LLAMA, format=["bf16", "w8a8-int"], workload="rag")
    gains = {(entry.hardware, entry.count, entry.format): entry.gain for entry in ranked if entry.gain is not None}
    low, high = gains["A100-SXM-80GB", 1, "w8a8-int"].intervals[80]
    assert 1 < low < high
    dollars = [entry.dollars_per_query for entry in ranked if entry.dollars_per_query is not None]
    assert dollars == sorted(dollars)


def test_limits_bound_the_load_of_each_format() -> None:
    formats = ["bf16", "w8a8-int"]
    ranked = whichbits.rank_hardware(LLAMA, format=formats, workload="rag", hardware="L4", count=1, max_tpot=0.08, max_ttft=0.5)
    assert [(entry.hardware, entry.count) for entry in ranked] == [("L4", 1), ("L4", 1)]
    for entry in ranked:
        best = entry.prediction
        assert best.tpot_s <= 0.0801
        assert best.ttft_s <= 0.501
        asked = {"format": [entry.format], "hardware": "L4", "workload": "rag"}
        (there,) = whichbits.predict(LLAMA, **asked, concurrency=str(best.concurrency), tensor_parallel=1)
        assert there.prediction.qps == pytest.approx(best.qps, rel=1e-2)
        (beyond,) = whichbits.predict(LLAMA, **asked, concurrency=str(1.1 * best.concurrency))
        assert beyond.prediction.tpot_s > 0.08
    everywhere = whichbits.rank_hardware(LLAMA, format=formats, workload="rag", max_tpot=0.08, count=2)
    assert {entry.count for entry in everywhere} == {2}
    assert all(entry.prediction is None or entry.prediction.tpot_s <= 0.0801 for entry in everywhere)


@pytest.mark.parametrize(("limit", "value"), [("max_ttft", 0.0), ("max_tpot", -1.0), ("max_latency", float("nan"))])
def test_a_limit_that_is_none_is_refused(limit: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{limit}: .* is not a positive number"):
        whichbits.rank_hardware(LLAMA, workload="rag", **{limit: value})


def test_points_are_answered_in_a_file(tmp_path: Path) -> None:
    header = "model,format,hardware,count,prompt_tokens,output_tokens,concurrency"
    (tmp_path / "in.csv").write_text(f"{header}\n{LLAMA},bf16,A100,1,256,128,1\n{LLAMA},w8a8-fp,A100,1,256,128,1\n")
    answered = whichbits.predict_points(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (answered.rows, answered.answered, answered.written) == (2, 1, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith(header)


def test_a_device_of_a_file_of_the_user_s_is_predicted_with_its_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice an L4 in every rate: as an entry of the catalogue's form, named by the environment."""
    path = tmp_path / "devices.yaml"
    path.write_text(
        "acme-x1: {name: Acme X1, aliases: [x1], maker: nvidia, architecture: adb, memory: gddr, capability: 8.9, units: 116, "
        "clock_ghz: 2.04, memory_gb: 48, bandwidth: 600, peak: {bf16: 242, int8: 484, fp8: 484}, link: 25, link_kind: pcie4, "
        "node: 8, network: 12.5, power_w: 144, source: a data sheet}\n"
    )
    monkeypatch.setenv("WHICHBITS_HARDWARE", str(path))
    for cached in (catalogue, _names):
        cached.cache_clear()
    try:
        (ours,) = whichbits.predict(LLAMA, format=["bf16"], hardware="x1", workload="256/128", price=["x1=2.00"])
        (half,) = whichbits.predict(LLAMA, format=["bf16"], hardware="L4", workload="256/128")
    finally:
        monkeypatch.undo()
        for cached in (catalogue, _names):
            cached.cache_clear()
    assert ours.prediction.latency_s < half.prediction.latency_s
    assert ours.prediction.queries_per_dollar == pytest.approx(3600 / (ours.prediction.latency_s * 2.0))
