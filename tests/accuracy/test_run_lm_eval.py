"""Scores against lm-evaluation-harness's own `hf` model, item by item."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.harness import HarnessSample
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import expand, task
from whichbits.accuracy.run_lm_eval import _item, _score, run_lm_eval
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError

pytest.importorskip("lm_eval")
GENERATED = expand(["generated"])


def harness_tasks(task: Task, *, seed: int, data_dir: Path | None = None) -> dict:
    return task_kind(task.kind).harness_tasks(task, seed=seed, data_dir=data_dir)


def by_hand(
    folder: Path, tasks: dict[str, Any], *, limit: int, chat: bool = False, dtype: str = "bfloat16"
) -> dict[str, list[dict[str, Any]]]:
    """Samples of lm-evaluation-harness itself, with its `hf` model, one request at a time."""
    from lm_eval.evaluator import evaluate as run
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), dtype=dtype, softmax_dtype="float32", batch_size=1, device="cpu", max_length=512)
    return run(
        lm=model,
        task_dict={"tasks": tasks},
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
    )["samples"]


def assert_equal_items(ours, theirs: list[dict[str, Any]], metric: str) -> None:
    assert len(ours.items) == len(theirs)
    for item, sample in zip(ours.items, theirs, strict=True):
        assert item.item == sample["doc_hash"]
        assert (item.prompt_hash, item.target_hash) == (sample["prompt_hash"], sample["target_hash"])
        assert item.score == float(sample[metric])
        if sample["filtered_resps"] and isinstance(sample["filtered_resps"][0], str):
            assert item.prediction == sample["filtered_resps"][0]


@pytest.mark.parametrize("one", GENERATED, ids=lambda one: one.name)
def test_items_equal_those_of_lm_eval_hf(one: Task, tiny_llama: Path, exact_tiny) -> None:
    ours = evaluate(one, exact_tiny, tiny_llama, limit=12, seed=3)
    theirs = by_hand(tiny_llama, harness_tasks(one, seed=3), limit=12, dtype="float32")
    assert_equal_items(ours, theirs[one.name], one.metric)
    assert ours.summary.n == 12
    assert ours.summary.score == sum(float(sample[one.metric]) for sample in theirs[one.name]) / 12


@pytest.mark.model
def test_items_of_the_embedded_model_equal_those_of_lm_eval_hf(embedded_model: Path) -> None:
    """In float32, where batches (ours) and single requests (lm-evaluation-harness's) have no ties to part at."""
    from whichbits.engines.emulation.model import Emulated

    model = Emulated(embedded_model, threads=1, dtype=torch.float32)
    for name, limit in (("recall", 8), ("choice", 8)):
        one = task(name)
        ours = evaluate(one, model, embedded_model, limit=limit)
        theirs = by_hand(embedded_model, harness_tasks(one, seed=0), limit=limit, dtype="float32")[name]
        assert_equal_items(ours, theirs, one.metric)
        assert 0 < ours.summary.score < 1


def test_log_likelihoods_equal_those_of_lm_eval_hf(tiny_llama: Path, plain_tiny) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from whichbits.accuracy.lm_eval_model import LmEvalModel

    pairs = [("The sky is", " blue"), ("", "Alone it stands"), ("Trailing space ", "goes over"), ("a b c", " d e f g")]
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    lm = LmEvalModel(plain_tiny, PromptTokenizer(tiny_llama), max_gen_toks=None, seed=0, task="t")
    ours = lm.loglikelihood(requests)
    # Its default takes the softmax in BF16, where close choices tie.
    hf = HFLM(pretrained=str(tiny_llama), dtype="bfloat16", softmax_dtype="float32", batch_size=1, device="cpu")
    theirs = hf.loglikelihood(requests)
    for (mine, greedy), (its, its_greedy) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(its, abs=1e-3)
        assert greedy == its_greedy


def test_the_users_task_with_choices_and_acc_norm(tiny_llama: Path, plain_tiny, tmp_path: Path) -> None:
    choices = ["no", "a much longer answer", "perhaps"]
    rows = [{"question": f"Question {n}?", "choices": choices, "answer": n % 3, "cluster": f"c{n // 2}"} for n in range(8)]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    one = Task(name="mine", version=1, kind="jsonl", source=str(file), description="", metric="acc_norm")
    ours = evaluate(one, plain_tiny, tiny_llama)
    theirs = by_hand(tiny_llama, harness_tasks(one, seed=0), limit=9)["mine"]
    assert [item.score for item in ours.items] == [sample["acc_norm"] for sample in theirs]
    for item, sample in zip(ours.items, theirs, strict=True):
        # The likeliest choice per character, worked out from lm-evaluation-harness's log-likelihoods.
        each = [answer[0] / len(choice) for answer, choice in zip(sample["filtered_resps"], choices, strict=True)]
        assert item.prediction == choices[each.index(max(each))]
        assert item.score == float(item.prediction == item.target)
    assert ours.summary.chance == pytest.approx(1 / 3)
    assert [item.cluster for item in ours.items][:4] == ["c0", "c0", "c1", "c1"]
    # The same line twice is two items.
    assert ours.items[8].item == ours.items[0].item + "#2"
    assert set(asdict(ours.rows()[0])) == {"item", "prompt_hash", "target_hash", "cluster", "score", "prediction", "target"}


def test_the_chat_template_is_the_tokenizers(embedded_model: Path, tiny_llama: Path, plain_tiny) -> None:
    one = task("recall").model_copy(update={"chat_template": True, "max_tokens": 4})
    ours = evaluate(one, plain_tiny, tiny_llama, limit=4)
    theirs = by_hand(tiny_llama, harness_tasks(one, seed=0), limit=4, chat=True)["recall"]
    assert_equal_items(ours, theirs, "exact_match")
    assert theirs[0]["arguments"][0][0].endswith("<|im_start|>assistant\n")
    assert ours.items[0].prompt_hash != evaluate(task("recall"), plain_tiny, tiny_llama, limit=1).items[0].prompt_hash


def test_a_group_keeps_its_members_apart(tiny_llama: Path, plain_tiny) -> None:
    members = {name: harness_tasks(task(name), seed=0)[name] for name in ("recall", "copy")}
    result = run_lm_eval(task("recall"), members, plain_tiny, PromptTokenizer(tiny_llama), limit=3, seed=0)
    assert [item.item.partition("/")[0] for item in result.items] == ["recall"] * 3 + ["copy"] * 3


@pytest.mark.parametrize(("document", "cluster"), [("text", "member/hash"), ({}, "member/hash"), ({"cluster": "one"}, "one")])
def test_a_member_says_whose_its_clusters_are(document: object, cluster: str) -> None:
    row = {
        "filter": "none",
        "doc": document,
        "filtered_resps": ["a"],
        "metrics": ["exact_match"],
        "exact_match": 1.0,
        "target": "a",
    }
    hashes = dict.fromkeys(("doc_hash", "prompt_hash", "target_hash"), "hash")
    member = SimpleNamespace(OUTPUT_TYPE="generate_until", task_name="member")
    item = _item(task("recall"), member, HarnessSample.of(row | hashes), prefix="member/")
    assert (item.item, item.cluster) == ("member/hash", cluster)


@pytest.mark.parametrize("value", [(0, 1), 37.5, -0.1, "right", None, float("nan")])
def test_a_metric_that_is_no_number_from_0_to_1_is_an_error(value: object) -> None:
    with pytest.raises(UserError, match="metric: 'exact_match'"):
        _score(task("recall"), value)
    assert (_score(task("recall"), True), _score(task("recall"), np.float32(0.5))) == (1.0, 0.5)


def test_an_item_longer_than_the_engine_is_an_error(tiny_llama: Path, plain_tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("recall", "choice"):
        evaluate(task(name), plain_tiny, tiny_llama, limit=1)
        monkeypatch.setattr(plain_tiny, "max_length", 4)
        with pytest.raises(UserError, match="prompt tokens"):
            evaluate(task(name), plain_tiny, tiny_llama, limit=1)
        monkeypatch.undo()


def test_the_filter_must_exist(tiny_llama: Path, plain_tiny) -> None:
    with pytest.raises(UserError, match="no filter 'strict'"):
        evaluate(task("recall").model_copy(update={"filter": "strict"}), plain_tiny, tiny_llama, limit=1)


def test_answers_are_limited_as_the_task_says(tiny_llama: Path, plain_tiny) -> None:
    plain_tiny.requests.clear()
    one = task("recall").model_copy(update={"stop": ("\n", ",", ";", ".", "the fifth"), "max_tokens": 7})
    evaluate(one, plain_tiny, tiny_llama, limit=1, seed=5)
    # No more stop strings than servers take; the others are applied on our side.
    assert plain_tiny.requests == [{"max_tokens": 7, "stop": ("\n", ",", ";", "."), "temperature": 0.0, "seed": 5}]
