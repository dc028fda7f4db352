"""A verdict and its report from a store alone, at the study's own margin and prices and at others."""

from __future__ import annotations

import html
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import whichbits
from whichbits.api.recommend import advise
from whichbits.schema.deployment import Deployment
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import LoadLevelSummary, Metrics, ServeSummary
from whichbits.schema.step import Step
from whichbits.studies.conclusion import GIVEN
from whichbits.studies.store.manifest import StudyManifest, entries
from whichbits.studies.store.store import Store

MARGIN, PRICE = 0.1, 5.0


def measured(store: Store, repeat: int) -> Step:
    """A round in which the candidate takes a second a request and the base two."""
    step = Step(
        "serve",
        1,
        Inputs(),
        {"round": str(repeat)},
        Labels(candidate="int8", workload="chat", deployment="a box", repeat=repeat),
    )
    seconds = {"candidate": 1.0, "base": 2.0}
    roles = [role for role in seconds for _ in range(10)]
    times = [seconds[role] * (1 + i % 3 / 100) for i, role in enumerate(roles)]
    partial = store.partial(step)
    table = dict.fromkeys(("start_s", "ttft_s", "itl_s", "tpot_s", "latency_s", "output_tokens"), times)
    table |= {"role": roles, "load_level": ["synchronous"] * len(roles), "ok": [True] * len(roles)}
    parquet.write_table(pa.table(table), partial / "items.parquet")
    load_levels = {
        role: (
            LoadLevelSummary(
                load_level="synchronous", concurrency=1, valid=True,
                metrics=Metrics(requests_per_second=1 / second, output_tokens_per_second=8 / second),
            ),
        )
        for role, second in seconds.items()
    }  # fmt: skip
    store.finish(
        step,
        partial,
        ServeSummary(session="one", load_levels=load_levels["candidate"], base_load_levels=load_levels["base"]),
        Provenance(),
    )
    return step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store of a study of two rounds, with its report."""
    store = Store(tmp_path / "a store")
    steps = [measured(store, repeat) for repeat in (0, 1)]
    StudyManifest(
        study="s", specification="", command="whichbits study s", model="m", notes=(), base="bf16", base_bytes=1,
        formats={"bf16": "bf16", "int8": "w8a8-int"}, margin=MARGIN, seed=0, hardware="", engines=(), workloads={},
        deployments={"a box": Deployment(hardware="this-machine", price_per_hour=PRICE, price_source=GIVEN)},
        prices="default", steps=entries(steps), version="1",
    ).write(store.folder)  # fmt: skip
    whichbits.report(store.folder)
    return store.folder


def test_a_report_at_another_margin_leaves_the_answer_at_its_own(folder: Path):
    whichbits.report(folder, margin=0.4)
    assert whichbits.recommend(folder).margin == MARGIN
    assert whichbits.recommend(folder, margin=0.4).margin == 0.4


def test_a_report_at_another_price_leaves_the_answer_at_its_own(folder: Path):
    whichbits.report(folder, price=["cpu=3"])
    assert {cost.price_per_hour for cost in whichbits.recommend(folder).cost} == {PRICE}
    assert {cost.price_per_hour for cost in whichbits.recommend(folder, price=["cpu=3"]).cost} == {3.0}


def test_a_report_shows_the_price_and_the_commands_that_it_is_made_with(folder: Path):
    page = html.unescape(whichbits.report(folder, margin=0.4, price=["cpu=3"]).html.read_text(encoding="utf-8"))
    assert ">3 USD<" in page
    assert f">{PRICE:g} USD<" not in page
    for command in ("recommend", "report"):
        assert f"\nwhichbits {command} '{folder}' --margin 0.4 --price cpu=3\n" in page


@pytest.mark.parametrize("options", [{"margin": 0.4}, {"price": ["cpu=3"]}], ids=["margin", "price"])
def test_the_page_in_the_store_is_shown_with_its_own_verdict_alone(folder: Path, options: dict[str, object]):
    page = folder / "report.html"
    assert advise(folder).report == page
    assert advise(folder, **options).report is None  # type: ignore[arg-type]
    whichbits.report(folder, **options)  # type: ignore[arg-type]
    assert advise(folder).report is None
    assert advise(folder, **options).report == page  # type: ignore[arg-type]
    page.unlink()
    assert advise(folder, **options).report is None  # type: ignore[arg-type]


def test_each_step_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    record_of = Store.record_of
    monkeypatch.setattr(
        Store, "record_of", lambda self, kind, key, *rest: read.append(key) or record_of(self, kind, key, *rest)
    )
    whichbits.report(folder, margin=0.4)
    assert len(read) == 2
    advise(folder)
    assert len(read) == 4
