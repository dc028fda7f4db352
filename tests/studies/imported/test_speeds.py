"""What another tool measured of base and candidate: ratios of the same load, and refusals of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.core.errors import UserError
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.verdict import Verdict

TOOLS = ("vllm-bench", "guidellm", "aiperf", "inference-perf")


def pair(written: Any, folder: Path, tool: str = "vllm-bench", *, rounds: int = 3, times: float = 1.25) -> tuple[Path, Path]:
    """Base and candidate, one and four at a time, in rounds that differ a little; the candidate is faster by a factor."""
    for name, speed in (("base", 1.0), ("model-w4a16", times)):
        for repeat in range(rounds):
            pace = (1 + 0.01 * (repeat % 2)) / speed
            for streams in (1, 4):
                sent = written.kept_in_flight(streams, 12, ttft=0.2 * pace, gap=0.1 * pace)
                options = {"date": f"20261101-12{repeat:02}{streams:02}"} if tool == "vllm-bench" else {}
                place = folder / name / f"{repeat}-{streams}"
                written.WRITERS[tool](place, sent, streams=streams, model=f"org/{name}", **options)
    return folder / "base", folder / "model-w4a16"


def ratios(verdict: Verdict, metric: str) -> dict[str, float]:
    """Of the candidate over the base, by load."""
    return {
        one.load_level: one.ratio.value
        for one in verdict.speed
        if one.candidate == "model-w4a16" and one.metric == metric and one.percentile is None and one.ratio is not None
    }


@pytest.mark.parametrize("tool", TOOLS)
def test_the_ratio_of_the_speeds(tool: str, written: Any, tmp_path: Path) -> None:
    outcome = whichbits.bench_from(*pair(written, tmp_path, tool), store=tmp_path / "store")
    found = ratios(outcome.verdict, "requests_per_second")
    assert found == {"synchronous": pytest.approx(1.25), "concurrency 4": pytest.approx(1.25)}
    assert ratios(outcome.verdict, "tpot_s")["concurrency 4"] == pytest.approx(0.8)
    (speed,) = [
        one for one in outcome.verdict.speed
        if (one.candidate, one.load_level, one.metric, one.percentile)
        == ("model-w4a16", "concurrency 4", "requests_per_second", None)
    ]  # fmt: skip
    assert (speed.rounds, speed.valid) == (3, True)
    assert isinstance(speed.ratio, Estimate)
    assert speed.ratio.low <= speed.ratio.value <= speed.ratio.high
    codes = {caveat.code for caveat in outcome.verdict.caveats}
    assert "kernels_unknown" in codes
    assert not any(getattr(getattr(caveat, "note", None), "code", "") == "server_starts" for caveat in outcome.verdict.caveats)
    assert f"speeds imported from {tool}" in outcome.report.read_text(encoding="utf-8")


def test_a_price_makes_queries_per_dollar_of_it(written: Any, tmp_path: Path) -> None:
    verdict = whichbits.bench_from(*pair(written, tmp_path), hardware="l4", count=2, store=tmp_path / "store").verdict
    costs = {(one.candidate, one.mode): one for one in verdict.cost}
    found = costs["model-w4a16", "asynchronous"]
    assert found.price_per_hour == pytest.approx(1.6)
    assert found.queries_per_dollar is not None
    assert found.queries_per_dollar.value == pytest.approx(3600 * 4 * 1.25 / 1.0033 / 1.6, rel=0.001)
    assert found.cost_reduction is not None
    assert found.cost_reduction.value == pytest.approx(1.25)


def test_scores_and_speeds_of_the_same_two_are_one_verdict(written: Any, tmp_path: Path) -> None:
    """Non-inferior by its scores, and faster: it is recommended. Either part can be imported again."""
    for name in ("base", "model-w4a16"):
        folder = tmp_path / "logs" / name
        folder.mkdir(parents=True)
        samples = [
            {"id": n, "epoch": 1, "input": f"Q{n}", "choices": list("abcd"), "target": "A",
             "scores": {"choice": {"value": "C" if n % 5 else "I", "answer": "A"}}}
            for n in range(2000)
        ]  # fmt: skip
        spec = {"task": "arc", "task_version": 0, "model": f"vllm/org/{name}", "config": {}, "packages": {"inspect_ai": "1"}}
        log = {"version": 2, "status": "success", "eval": spec, "plan": {}, "samples": samples}
        (folder / "arc.json").write_text(json.dumps(log), encoding="utf-8")
    scores = (tmp_path / "logs" / "base", tmp_path / "logs" / "model-w4a16")
    speeds, store = pair(written, tmp_path), tmp_path / "store"
    assert whichbits.evaluate_from(*scores, margin=0.02, store=store).verdict.recommendations == ()
    for outcome in (whichbits.bench_from(*speeds, store=store), whichbits.evaluate_from(*scores, margin=0.02, store=store)):
        found = {one.mode: one.candidate for one in outcome.verdict.recommendations}
        assert found == {"synchronous": "model-w4a16", "asynchronous": "model-w4a16"}
        assert outcome.verdict.margin == 0.02
    assert whichbits.recommend(store) == outcome.verdict


@pytest.mark.parametrize(
    ("field", "options", "said"),
    [
        ("load", {"streams": 8}, "load differs: concurrency 4 in .*, concurrency 8 in"),
        ("prompts", {"prompt": 32}, "concurrency 4: mean prompt tokens differs: 16.0 in .*, 32.0 in"),
        ("outputs", {"tokens": 12}, "concurrency 4: mean output tokens differs: 9.0 in .*, 12.0 in"),
        ("hardware", {"fields": {"gpu": "A100"}}, r'gpu differs: \["H100"\] in .*, \["A100"\] in'),
        (
            "engine",
            {"fields": {"gpu": "H100", "vllm_version": "0.11"}},
            r'vllm_version differs: not stated in .*, \["0.11"\] in',
        ),
        ("backend", {"fields": {"backend": "openai-chat"}}, "backend differs"),
    ],
)
def test_another_load_is_refused(field: str, options: dict[str, Any], said: str, written: Any, tmp_path: Path) -> None:
    fields = {"gpu": "H100"}
    written.WRITERS["vllm-bench"](tmp_path / "base", written.kept_in_flight(4, 8), streams=4, **fields)
    streams, own = options.pop("streams", 4), options.pop("fields", fields)
    written.WRITERS["vllm-bench"](tmp_path / "other", written.kept_in_flight(streams, 8, **options), streams=streams, **own)
    with pytest.raises(UserError, match=said):
        whichbits.bench_from(tmp_path / "base", tmp_path / "other", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_results_of_two_tools_are_not_compared(written: Any, tmp_path: Path) -> None:
    base = written.WRITERS["vllm-bench"](tmp_path / "base", written.kept_in_flight(4, 8), streams=4)
    other = written.WRITERS["guidellm"](tmp_path / "other", written.kept_in_flight(4, 8), streams=4)
    with pytest.raises(UserError, match=r"tool differs: vllm-bench in .*, guidellm in"):
        whichbits.bench_from(base, other, store=tmp_path / "store")


def test_the_command(written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, candidate = pair(written, tmp_path)
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["bench", "--from", str(base), "--from", str(candidate), "--hardware", "h100"])
    assert told.exit_code == 0, told.output
    shown = [line.split() for line in told.stdout.splitlines() if line.startswith("concurrency 4")]
    assert len(shown) == 5, "throughputs, latency, TTFT and ITL"
    assert any("1.25" in word for word in shown[0])
    assert Path("studies/imported/report.html").is_file()
    assert CliRunner().invoke(app, ["bench", "--from", str(base)]).exit_code == 2
    assert CliRunner().invoke(app, ["bench", "m", "--from", str(base), "--from", str(candidate)]).exit_code == 2
    assert CliRunner().invoke(app, ["bench"]).exit_code == 2


STUDY = """\
version: 1
name: mixed
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w4a16-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: parity, jsonl: "{tasks}"}}]
base_repeats: 1
speeds:
  - {{name: chat, from: {{base: {base}, w4a16-int: {candidate}}}, hardware: l4, slo: {{latency: {{seconds: 9}}}}}}
"""


@pytest.fixture
def mixed(written: Any, tmp_path: Path, tiny_llama: Path) -> Path:
    """A study that scores in emulation, and whose speeds were measured elsewhere."""
    rows = [{"question": f"Number {n} is", "choices": [" even", " odd"], "answer": n % 2} for n in range(4)]
    (tmp_path / "parity.jsonl").write_text("\n".join(map(json.dumps, rows)))
    base, candidate = pair(written, tmp_path)
    text = STUDY.format(model=tiny_llama, tasks=tmp_path / "parity.jsonl", base=base, candidate=candidate)
    path = tmp_path / "mixed.yaml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_study_decides_by_speeds_that_were_measured_elsewhere(mixed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    outcome = whichbits.study(mixed, store=store, quiet=True)
    assert outcome.failed == 0
    found = {(one.candidate, one.mode): one for one in outcome.verdict.cost}
    assert {name for name, _ in found} == {"bf16", "w4a16-int"}, "the other has no speed there"
    cost = found["w4a16-int", "asynchronous"]
    assert isinstance(cost.cost_reduction, Estimate) and cost.cost_reduction.value == pytest.approx(1.25)
    assert (cost.workload, cost.deployment, cost.rounds, cost.valid) == ("chat", "1 × l4", 3, True)
    assert cost.price_per_hour == pytest.approx(0.8)
    assert [one.candidate for one in outcome.verdict.tasks] == ["w8a8-int", "w4a16-int"]
    steps = [json.loads(file.read_text()) for file in store.glob("steps/serve/*/result.json")]
    assert [one["provenance"]["tool"] for one in steps] == ["vllm-bench"] * 3
    assert {one["provenance"]["imported"] for one in steps} == {str(tmp_path / "model-w4a16")}
    unknown = [caveat.candidates for caveat in outcome.verdict.caveats if caveat.code == "kernels_unknown"]
    assert unknown == [("w4a16-int",)]
    assert "speeds imported from vllm-bench" in outcome.report.read_text(encoding="utf-8")
    assert whichbits.recommend(store) == outcome.verdict
    assert "0 of " in whichbits.plan(mixed, store=store).text, "nothing is left to run"


@pytest.mark.slow
def test_one_round_elsewhere_has_no_interval(written: Any, mixed: Path, tmp_path: Path) -> None:
    for file in [*tmp_path.glob("base/[12]-*/*"), *tmp_path.glob("model-w4a16/[12]-*/*")]:
        file.unlink()
    verdict = whichbits.study(mixed, store=tmp_path / "store", quiet=True).verdict
    (cost,) = [one for one in verdict.cost if (one.candidate, one.mode) == ("w4a16-int", "asynchronous")]
    assert isinstance(cost.cost_reduction, SingleRound)
    assert "one_round" in {note.code for note in cost.notes}


def test_a_file_that_has_changed_is_a_new_step(written: Any, mixed: Path, tmp_path: Path) -> None:
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.specification.schema import load

    def keys() -> list[str]:
        return [one.step.key for one in Expansion(*load(mixed)).plan().steps if one.step.kind == "serve"]

    before = keys()
    written.WRITERS["vllm-bench"](
        tmp_path / "model-w4a16" / "2-4", written.kept_in_flight(4, 12, ttft=0.3), streams=4, model="org/model-w4a16",
        date="20261101-120204",
    )  # fmt: skip
    after = keys()
    assert len(before) == len(after) == 3 and sum(one != other for one, other in zip(before, after, strict=True)) == 1
