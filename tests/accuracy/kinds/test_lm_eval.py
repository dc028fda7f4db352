"""lm-evaluation-harness's own tasks, on data in a local directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.lm_eval import data_files
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError

pytest.importorskip("lm_eval")


def harness_tasks(task: Task, *, seed: int, data_dir: Path | None = None) -> dict:
    return task_kind(task.kind).harness_tasks(task, seed=seed, data_dir=data_dir)


def harness(source: str, metric: str = "acc", **more: object) -> Task:
    return Task(name=source, version=1, kind="lm-eval", source=source, description="", metric=metric, **more)


def lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_gsm8k_from_local_files(tmp_path: Path, tiny_llama: Path, plain_tiny) -> None:
    lines(tmp_path / "gsm8k" / "train.jsonl", [{"question": f"1 + {n}?", "answer": f"So #### {1 + n}"} for n in range(6)])
    lines(tmp_path / "gsm8k" / "test.jsonl", [{"question": f"2 + {n}?", "answer": f"So #### {2 + n}"} for n in range(3)])
    one = task("gsm8k").model_copy(update={"max_tokens": 4, "num_fewshot": 2})
    result = evaluate(one, plain_tiny, tiny_llama, data_dir=tmp_path)
    assert result.summary.n == 3
    assert result.items[0].target == "So #### 2"
    assert result.items[0].prediction == "[invalid]"
    shown = harness_tasks(one, seed=0, data_dir=tmp_path)["gsm8k"]
    assert shown.get_config("num_fewshot") == 2
    flexible = evaluate(
        one.model_copy(update={"filter": "flexible-extract"}), plain_tiny, tiny_llama, data_dir=tmp_path, limit=2
    )
    assert flexible.summary.n == 2


def test_the_metric_must_exist(tmp_path: Path, tiny_llama: Path, plain_tiny) -> None:
    row = {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    for split in ("train", "validation", "test"):
        lines(tmp_path / "ai2_arc" / "ARC-Easy" / f"{split}.jsonl", [row])
    with pytest.raises(UserError, match=r"arc_easy has no metric 'f1'.*acc_norm"):
        evaluate(harness("arc_easy", "f1", num_fewshot=0), plain_tiny, tiny_llama, data_dir=tmp_path)


def test_a_group_and_a_tag_from_local_files(tmp_path: Path) -> None:
    row = {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    for name in ("ARC-Easy", "ARC-Challenge"):
        for split in ("train", "validation", "test"):
            lines(tmp_path / "ai2_arc" / name / f"{split}.jsonl", [row])
    assert set(harness_tasks(harness("ai2_arc"), seed=0, data_dir=tmp_path)) == {"arc_easy", "arc_challenge"}


def test_the_files_that_a_group_a_tag_or_a_task_reads(tmp_path: Path) -> None:
    for name in ("ai2_arc/ARC-Easy/test.jsonl", "cais/mmlu/anatomy/test.jsonl", "piqa/validation.jsonl"):
        lines(tmp_path / name, [{}])
    assert set(data_files(harness("ai2_arc"), tmp_path)) == {"ai2_arc/ARC-Easy/test.jsonl"}
    assert set(data_files(harness("mmlu"), tmp_path)) == {"cais/mmlu/anatomy/test.jsonl"}
    assert data_files(harness("piqa"), tmp_path) == {"piqa/validation.jsonl": tmp_path / "piqa" / "validation.jsonl"}
    with pytest.raises(UserError, match="no data set allenai/winogrande"):
        data_files(harness("winogrande"), tmp_path)


def test_winogrande_keeps_its_gold_choice(tmp_path: Path, tiny_llama: Path, plain_tiny) -> None:
    rows = [
        {"sentence": f"Ann met Bea so _ waved {n}.", "option1": "Ann", "option2": "Bea", "answer": str(1 + n % 2)}
        for n in range(4)
    ]
    lines(tmp_path / "winogrande" / "winogrande_xl" / "validation.jsonl", rows)
    lines(tmp_path / "winogrande" / "winogrande_xl" / "train.jsonl", rows)
    result = evaluate(harness("winogrande"), plain_tiny, tiny_llama, data_dir=tmp_path)
    assert [item.target for item in result.items] == ["Ann met Bea so Ann", "Ann met Bea so Bea"] * 2
    assert result.summary.chance == 0.5
    for item in result.items:
        assert item.score == float(item.prediction == item.target)


def test_a_wrong_name_is_told() -> None:
    with pytest.raises(UserError, match=r"no task 'arc_esy'.*arc_easy"):
        harness_tasks(harness("arc_esy"), seed=0)


def test_missing_local_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data set allenai/ai2_arc"):
        harness_tasks(harness("arc_easy"), seed=0, data_dir=tmp_path)


@pytest.mark.parametrize("one", ["truthfulqa_mc1", "gsm8k"])
def test_published_files(one: str, tmp_path: Path, tiny_llama: Path, plain_tiny) -> None:
    root = os.environ.get("WHICHBITS_TEST_DATA")
    if root is None:
        pytest.skip("WHICHBITS_TEST_DATA names no folder with the files that the data sets' authors publish")
    published = Path(root) / {"truthfulqa_mc1": "truthfulqa", "gsm8k": "gsm8k"}[one]
    folder = tmp_path / {"truthfulqa_mc1": "truthfulqa/truthful_qa", "gsm8k": "openai/gsm8k"}[one]
    folder.parent.mkdir(parents=True)
    folder.symlink_to(published)
    chosen = task(one).model_copy(update={"max_tokens": 2} if one == "gsm8k" else {})
    chosen = chosen.model_copy(update={"num_fewshot": 1}) if one == "gsm8k" else chosen
    result = evaluate(chosen, plain_tiny, tiny_llama, data_dir=tmp_path, limit=3)
    assert result.summary.n == 3
