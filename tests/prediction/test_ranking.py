import pytest

from whichbits.prediction.model.solve import MeanLimits
from whichbits.prediction.ranking import rank_hardware

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_the_cheapest_deployment_within_the_limits_comes_first() -> None:
    limits = MeanLimits(tpot_s=0.05, ttft_s=2.0)
    ranked = rank_hardware(
        LLAMA, prompt_tokens=512, output_tokens=256, limits=limits, hardware=["A6000", "H100", "L4"], counts=[1, 2],
        prices={"A6000": 0.8, "H100": 3.0, "L4": 0.8},
    )  # fmt: skip
    answered = [entry for entry in ranked if entry.prediction]
    dollars = [entry.dollars_per_query for entry in answered]
    assert dollars == sorted(dollars)
    assert all(entry.prediction.tpot_s <= 0.0501 and entry.prediction.ttft_s <= 2.001 for entry in answered)
    hourly = {"A6000": 0.8, "H100": 3.0, "L4": 0.8}
    for entry in answered:
        assert entry.dollars_per_query == pytest.approx(hourly[entry.hardware] * entry.count / 3600 / entry.prediction.qps)


def test_every_deployment_is_listed_once_and_refusals_say_why() -> None:
    ranked = rank_hardware(
        LLAMA, prompt_tokens=512, output_tokens=256, formats=["bf16", "w8a8-fp"], counts=[1], limits=MeanLimits(tpot_s=0.001)
    )
    assert len(ranked) == len({(entry.hardware, entry.count, entry.format) for entry in ranked})
    assert all(entry.reason for entry in ranked if entry.prediction is None)
    assert any("breaks the latency limits" in (entry.reason or "") for entry in ranked)


def test_without_limits_the_highest_rate_counts() -> None:
    ranked = rank_hardware(LLAMA, prompt_tokens=512, output_tokens=256, hardware=["H100"], counts=[1], formats=["bf16"])
    assert ranked[0].prediction.qps_steady > ranked[0].prediction.qps
