"""The verb `predict`: rows with numbers for machines and intervals that people read."""

import json

import pytest

from whichbits import api

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_intervals_are_pairs_in_json_and_text_in_a_table() -> None:
    base, quick, refused = api.predict(LLAMA, ["bf16", "w4a16-int", "w8a8-fp"], "A100", workload="256/128")
    low, high = json.loads(json.dumps(quick))["speedup_80"]
    assert low < quick["speedup"] < high
    assert quick["speedup"] == pytest.approx(base["latency_s"] / quick["latency_s"], rel=1e-3)
    assert str(quick["speedup_80"]) == f"{low:.3g} – {high:.3g}"
    assert base["speedup"] is None
    assert "no FP8 tensor cores" in refused["reason"]
    assert {row["provenance"] for row in (base, quick, refused)} == {"predicted"}


def test_a_ranking_shows_what_each_format_gains_on_its_device() -> None:
    rows = api.predict(LLAMA, ["bf16", "w8a8-int"], workload="rag", all_hardware=True)
    gains = {(row["hardware"], row["count"], row["format"]): row["gain_80"] for row in rows if row["gain"] is not None}
    low, high = gains["A100-SXM-80GB", 1, "w8a8-int"]
    assert 1 < low < high
    dollars = [row["dollars_per_1000"] for row in rows if row["dollars_per_1000"] is not None]
    assert dollars == sorted(dollars)
