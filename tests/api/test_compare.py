"""What `compare` makes of its candidate's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import whichbits
from whichbits.schema.labels import Labels
from whichbits.schema.step import Record
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.registry import summary_of


@pytest.mark.parametrize(
    ("candidate", "format", "checkpoint"),
    [
        ("w8a8-fp", "w8a8-fp", None),
        ("w8a8-fp+kv-fp8", "w8a8-fp+kv-fp8", None),
        ("FP8+kv-fp8", "w8a8-fp+kv-fp8", None),
        ("int4", "w4a16-int", None),
        ("int8", None, "int8"),
        ("some/folder", None, "some/folder"),
    ],
)
def test_a_name_with_a_cache_and_an_alias_are_formats_too(
    candidate: str, format: str | None, checkpoint: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """`int8` is a folder here, and then no alias."""
    (tmp_path / "int8").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[Specification] = []

    def run_part(part: Specification, *rest: object) -> list[object]:
        asked.append(part)
        return []

    monkeypatch.setattr("whichbits.api.compare.run_part", run_part)
    assert whichbits.compare("base/model", candidate, store=tmp_path / "store") == ()
    (column,) = asked[0].candidates
    assert (column.format, column.checkpoint) == (format, checkpoint)


def test_measures_have_the_interval_that_a_study_gives_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rng = np.random.default_rng(0)
    kl = rng.gamma(2.0, 0.05, 40)
    windows = {"window": range(40), "tokens": [32] * 40, "kl_sum": 32 * kl, "top1_same": [30] * 40, "nll_sum": [64.0] * 40}
    (tmp_path / "step").mkdir()
    parquet.write_table(pa.table({name: list(values) for name, values in windows.items()}), tmp_path / "step" / "items.parquet")
    means = {"n_tokens": 1280, "kl": float(kl.mean()), "top1_agreement": 30 / 32, "perplexity": 7.4, "base_perplexity": 7.0}
    record = Record(
        "key",
        "distribution",
        Labels(candidate="int8", text="ours"),
        "done",
        tmp_path / "step",
        summary_of("distribution", means),
    )
    monkeypatch.setattr("whichbits.api.compare.run_part", lambda *_: [record])
    found = {entry.measure: entry for entry in whichbits.compare("base/model", "w8a8-int", emulated=True)}
    width = 1.96 * kl.std(ddof=1) / np.sqrt(40)
    assert found["kl"].value == pytest.approx(kl.mean())
    assert found["kl"].low == pytest.approx(kl.mean() - width, rel=0.06)
    assert found["kl"].high == pytest.approx(kl.mean() + width, rel=0.06)
    assert found["base_perplexity"].low is None
