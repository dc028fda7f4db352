"""Arena-Hard on a small set of questions, judged over HTTP by a server of the tests."""

from __future__ import annotations

import json
import os
import runpy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.arena.files import prompts
from whichbits.accuracy.compare import compare
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError
from whichbits.hardware.this_machine import describe
from whichbits.schema.engine import Emulation
from whichbits.schema.evaluate import EvaluateInputs, EvaluateSummary, Judged, SampledItem
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.steps.shared.judge import KEPT, judge_of, judged

DATA = Path(os.environ.get("WHICHBITS_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
"""Public data sets, which are no part of the repository."""
SCRIPT = Path(__file__).parents[2] / "engines" / "judge_server.py"


@pytest.fixture
def server() -> Iterator[Callable[..., Any]]:
    script = runpy.run_path(str(SCRIPT))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        made = script["JudgeServer"](**options)
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(made)
        return made

    yield start
    for made in running:
        made.shutdown()
        made.server_close()


def lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answered(uid: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": {"answer": answer}}]
    return {"uid": uid, "ans_id": "x", "model": "m", "messages": messages}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Five questions; the baseline says "good" once to each."""
    folder = tmp_path / "arena-hard-v0.1"
    asked = ["Why?", "How?", "When?", "A biased one?", "A silent one?"]
    rows = [{"uid": f"q{n}", "category": "arena-hard-v0.1", "cluster": "c", "prompt": text} for n, text in enumerate(asked)]
    lines(folder / "question.jsonl", rows)
    lines(folder / "model_answer" / "gpt-4-0314.jsonl", [answered(f"q{n}", "# A\n\ngood") for n in range(5)])
    return tmp_path


class Model:
    """Says "good" three times, once, and never; the thought before it is not judged."""

    max_length = 100_000

    def generate(self, prompts, **_):
        texts = ["good good good, **bold**", "good", "bad", "good", "good"]
        return [SimpleNamespace(text=f"<think>good good good good</think>{text}", tokens=7) for text in texts[: len(prompts)]]


class Context:
    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, text: str) -> None:
        self.said.append(text)

    def server(self, name: str) -> str:
        raise AssertionError(name)


def with_server(url: str, **more: Any) -> Task:
    return judged(task("arena_hard_v0.1"), JudgeChoice(url=url, model="judge", **more))


def run(one: Task, data_dir: Path, folder: Path, context: Context, limit: int | None = None):
    with ExitStack() as stack:
        return evaluate(one, Model(), folder, data_dir=data_dir, judge=judge_of(one, None, context, stack), limit=limit)


def test_answers_are_judged_in_both_orders_twice(server, questions: Path, embedded_model: Path, monkeypatch) -> None:
    running = server(key="secret")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    context = Context()
    one = with_server(running.url, key_variable="JUDGE_KEY", prompt_price=2.0, output_price=10.0)
    result = run(one, questions, embedded_model, context)
    # Won by far, tied, lost, won once in each place by the judge's bias, and no label.
    assert [item.score for item in result.items] == [1, 0.5, 0, 0.5, 0.5]
    assert result.summary.score == pytest.approx(0.5)
    assert [item.item for item in result.items] == [f"q{n}" for n in range(5)]
    judged_ = result.summary.judged
    assert judged_ is not None
    assert (judged_.requests, judged_.without_label, judged_.rounds) == (20, 4, 2)
    assert judged_.swayed_by_order == pytest.approx(2 / 8)
    assert judged_.changed_when_repeated == 0
    assert (judged_.prompt_tokens, judged_.generated_tokens) == (2000, 200)
    assert judged_.dollars == pytest.approx((2000 * 2 + 200 * 10) / 1e6)
    # Of four rounds that count, with a weight of 3 for the first question: (4·3 + 4·½ + 0 + 2·1) / (12 + 4 + 4 + 4).
    assert judged_.win_rate is not None and judged_.win_rate.rate == pytest.approx(16 / 24)
    assert judged_.win_rate_at_equal_style is not None
    # What it takes is said before the first judgment.
    assert context.said[0].startswith("20 judgments by judge: about ")
    assert "at most $" in context.said[0]
    assert context.said[1].endswith("of 20 judgments")
    for place, request in enumerate(running.received[:4]):
        assert "<think>" not in request["messages"][1]["content"], place
    assert EvaluateSummary.model_validate(result.summary.model_dump(mode="json")) == result.summary


def test_one_round_and_few_questions(server, questions: Path, embedded_model: Path) -> None:
    running = server()
    result = run(with_server(running.url, rounds=1), questions, embedded_model, Context(), limit=2)
    assert (result.summary.n, result.summary.available) == (2, 5)
    assert result.summary.judged is not None and result.summary.judged.changed_when_repeated is None
    assert len(running.received) == 4


def test_the_judge_is_part_of_the_key_and_its_address_is_not() -> None:
    def stated(task: Task) -> dict[str, Any]:
        emulation = Emulation(versions={}, threads=1)
        inputs = EvaluateInputs(task=task, data=None, seed=0, repeat=0, engine=emulation, hardware=describe().key())
        return inputs.model_dump(mode="json")["task"]

    judge = with_server("http://127.0.0.1:1", prompt_price=1.0, output_price=1.0, baseline=Path("own.jsonl"))
    assert stated(judge)["judging"] == {"model": "judge", "rounds": 2, "max_tokens": 4096, "temperature": 0.0}
    assert "judging" not in stated(task("gsm8k")) and "items" not in stated(task("gsm8k"))


def test_a_judge_goes_with_tasks_that_are_judged() -> None:
    with pytest.raises(UserError, match="no judge is named"):
        judged(task("arena_hard_v0.1"), None)
    with pytest.raises(UserError, match="recall are not judged"):
        judged(task("recall"), JudgeChoice(url="http://a", model="m"))
    assert judged(task("recall"), None) == task("recall")
    with pytest.raises(UserError, match="is no address"):
        judged(task("arena_hard_v0.1"), JudgeChoice(url="judge:80/", model="m"))
    with pytest.raises(UserError, match="needs a judge"):
        task_kind("arena-hard").judging_work(task("arena_hard_v0.1"), limit=None, data_dir=None)


def test_what_judging_takes_is_known_beforehand(questions: Path) -> None:
    one = with_server("http://a", prompt_price=1.0, output_price=2.0)
    text = task_kind("arena-hard").judging_work(one, limit=3, data_dir=questions).text
    assert text.startswith("12 judgments by judge: about ")
    # Three answers of up to 4,096 tokens, read four times each, and twelve judgments of up to 4,096 tokens.
    assert "at most 49,152 to write" in text and "at most $0.15" in text


def test_files_that_are_missing_or_do_not_fit(questions: Path) -> None:
    assert set(task_kind("arena-hard").data_files(task("arena_hard_v0.1"), questions)) == {"question.jsonl", "gpt-4-0314.jsonl"}
    with pytest.raises(UserError, match=r"Arena-Hard v2\.0"):
        prompts("v2.0", questions)
    with pytest.raises(UserError, match="files of gpt-4-0314's answers"):
        prompts("v0.1", None)
    answers = questions / "arena-hard-v0.1" / "model_answer" / "gpt-4-0314.jsonl"
    answers.write_text(answers.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="no baseline answers question q1"):
        prompts("v0.1", questions)


def test_answers_of_a_file_in_place_of_the_papers_baseline(
    server, questions: Path, embedded_model: Path, tmp_path: Path
) -> None:
    """The base's own items: against itself it ties, unless the judge has no label or a bias, which cancels."""
    import pyarrow
    import pyarrow.parquet as parquet

    running = server()
    first = run(with_server(running.url), questions, embedded_model, Context())
    items = tmp_path / "items.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in first.rows()]), items)
    against_itself = with_server(running.url, baseline=items)
    assert set(task_kind("arena-hard").data_files(against_itself, questions)) == {"question.jsonl", "baseline"}
    result = run(against_itself, questions, embedded_model, Context())
    assert [item.score for item in result.items] == [0.5] * 5
    assert result.items[0].target == "good good good, **bold**"
    lines(tmp_path / "own.jsonl", [answered(f"q{n}", "good good") for n in range(5)])
    result = run(with_server(running.url, baseline=tmp_path / "own.jsonl"), questions, embedded_model, Context(), limit=3)
    assert [item.score for item in result.items] == [1, 0, 0]
    with pytest.raises(UserError, match="there is no file"):
        task_kind("arena-hard").data_files(with_server(running.url, baseline=tmp_path / "nowhere"), questions)
    parquet.write_table(pyarrow.table({"item": ["q0"]}), items)
    with pytest.raises(UserError, match="has no answers"):
        run(against_itself, questions, embedded_model, Context())


def row(item: str, *texts: str) -> SampledItem:
    more = {"sample_scores": (0.0,) * len(texts), "sample_predictions": texts} if len(texts) > 1 else {}
    return SampledItem(item, f"hash {item}", "", item, 0.0, texts[0], "", **more)


def test_one_models_answers_against_anothers(server, questions: Path, embedded_model: Path) -> None:
    running = server()
    with ExitStack() as stack:
        one = with_server(running.url, prompt_price=2.0, output_price=10.0)
        judge = judge_of(one, None, Context(), stack)
        assert judge is not None
        ours = [
            row("q1", "<think>hm</think>good"),
            row("q0", "good good"),
            row("q3", "good"),
            row("q4", "mine"),
            row("q2", "no"),
        ]
        theirs = [row("q0", "bad"), row("q1", "good"), row("q2", "good"), row("q3", "good good"), row("q4", "yours")]
        found = compare(one, ours, theirs, embedded_model, judge=judge, data_dir=questions)
        # The same but for the thought: a tie, unasked; won; won by A in either place; no label; lost.
        assert [(row.item, row.score, row.identical) for row in found.items] == [
            ("q1", 0.5, True), ("q0", 1, False), ("q3", 0.5, False), ("q4", 0.5, False), ("q2", 0, False)
        ]  # fmt: skip
        judged_ = found.judged
        assert (judged_.identical, judged_.requests, judged_.without_label, len(running.received)) == (1, 16, 4, 16)
        # Of the rounds that the judge has labelled; the tie is none of them.
        assert judged_.swayed_by_order == pytest.approx(2 / 6)
        assert judged_.changed_when_repeated == 0
        assert judged_.dollars == pytest.approx(16 * (100 * 2 + 10 * 10) / 1e6)
        # Twice in both orders: won with a weight of 3, tied, won once in each place, lost.
        assert judged_.win_rate is not None and judged_.win_rate.rate == pytest.approx((4 * 3 + 4 / 2 + 2) / (12 + 4 + 4 + 4))
        # Several answers to a question are compared in their order.
        drawn = compare(
            one, [row("q0", "good", "no")], [row("q0", "no", "good good")], embedded_model, judge=judge, data_dir=questions
        )
        assert drawn.items[0].score == pytest.approx(1 / 4)
        with pytest.raises(ValueError, match="not answered the same prompts"):
            compare(one, ours[:4], theirs, embedded_model, judge=judge, data_dir=questions)


def test_judgments_outlive_a_killed_run(server, questions: Path, embedded_model: Path, tmp_path: Path) -> None:
    running, kept = server(), tmp_path / "kept"
    ours, theirs = ([row(f"q{n}", text) for n in range(3)] for text in ("good", "bad"))

    def judged_once() -> Judged:
        with ExitStack() as stack:
            one = with_server(running.url)
            judge = judge_of(one, kept, Context(), stack)
            assert judge is not None
            return compare(one, ours, theirs, embedded_model, judge=judge, data_dir=questions).judged

    whole = judged_once()
    lines = (kept / KEPT).read_text().splitlines(keepends=True)
    assert len(lines) == len(running.received) == 12
    (kept / KEPT).write_text("".join(lines[:7]) + lines[7][:40])  # killed in the midst of a line
    assert judged_once() == whole
    assert len(running.received) == 12 + 5
    assert len((kept / KEPT).read_text().splitlines()) == 12
    assert judged_once() == whole
    assert len(running.received) == 12 + 5


def test_the_published_questions_are_read() -> None:
    if not (DATA / "arena_hard").is_dir():
        pytest.skip(f"no data set arena_hard in {DATA}: name another folder in WHICHBITS_TEST_DATA")
    found = prompts("v0.1", DATA)
    assert len({one.uid for one in found}) == len(found) == 500
    assert all(one.baseline for one in found)
    with pytest.raises(UserError, match="o3-mini-2025-01-31's answers"):
        prompts("v2.0", DATA)
