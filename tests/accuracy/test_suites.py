"""The leaderboards' suites: the papers' settings, and items equal to lm-evaluation-harness's own run on published data."""

from __future__ import annotations

import bz2
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from whichbits.accuracy.item import Item
from whichbits.accuracy.kinds.lm_eval import SPLIT_INTO_SENTENCES, data_files
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.local_data import local_dataset
from whichbits.accuracy.registry import expand, task
from whichbits.accuracy.rescaled import rescaled
from whichbits.accuracy.run_lm_eval import _gold, run_lm_eval
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError

DATA = Path(os.environ.get("WHICHBITS_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
"""Public data sets, which are no part of the repository."""

SETTINGS = {
    "leaderboard-v1": [
        ("mmlu_llama", 5, True, "exact_match", "strict_match"),
        ("mmlu_cot_llama", 0, True, "exact_match", "strict_match"),
        ("arc_challenge_llama", 0, True, "exact_match", "strict_match"),
        ("gsm8k_llama", 8, True, "exact_match", "strict_match"),
        ("hellaswag", 10, False, "acc_norm", None),
        ("winogrande", 5, False, "acc", None),
        ("truthfulqa_mc2", 0, False, "acc", None),
    ],
    "leaderboard-v1-classic": [
        ("arc_challenge", 25, False, "acc_norm", None),
        ("hellaswag", 10, False, "acc_norm", None),
        ("winogrande", 5, False, "acc", None),
        ("mmlu", 5, False, "acc", None),
        ("truthfulqa_mc2", 0, False, "acc", None),
        ("gsm8k", 5, False, "exact_match", "strict-match"),
    ],
    "leaderboard-v2": [
        ("leaderboard_ifeval", 0, True, "prompt_level_strict_acc+inst_level_strict_acc", None),
        ("leaderboard_bbh", 3, True, "acc_norm", None),
        ("leaderboard_math_hard", 4, True, "exact_match", None),
        ("leaderboard_gpqa", 0, True, "acc_norm", None),
        ("leaderboard_musr", 0, True, "acc_norm", None),
        ("leaderboard_mmlu_pro", 5, True, "acc", None),
    ],
}


@pytest.mark.parametrize("suite", SETTINGS)
def test_the_settings_are_the_papers(suite: str) -> None:
    found = [(one.source, one.num_fewshot, one.chat_template, one.metric, one.filter) for one in expand([suite])]
    assert found == SETTINGS[suite]


def test_every_shipped_task_of_the_harness_is_in_it() -> None:
    from lm_eval.tasks import TaskManager

    known = TaskManager().task_index
    suites = ["leaderboard-v1", "leaderboard-v1-classic", "leaderboard-v2", "multilingual", "multilingual-okapi"]
    for one in expand(suites):
        assert one.source in known, one.source
        task_kind(one.kind).check(one)
    okapi = {name for name in known if re.fullmatch("m_mmlu_[a-z]{2}", name)} - {"m_mmlu_en"}
    assert {one.source for one in expand(["multilingual-okapi"])} == okapi
    llama = {name for name in known if re.fullmatch("mmlu_[a-z]{2}_llama", name)}
    assert {one.source for one in expand(["multilingual"])} == llama


def _lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _published(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"no data set {name} in {DATA}: name another folder in WHICHBITS_TEST_DATA")
    return DATA / name


def _mmlu(folder: Path) -> None:
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for line in (_published("mmlu_stem") / "test.jsonl").read_text().splitlines():
        row = json.loads(line)
        by_subject.setdefault(row["type"], []).append({name: row[name] for name in ("question", "choices", "answer")})
    for subject, rows in by_subject.items():
        _lines(folder / "mmlu_no_train" / subject / "dev.jsonl", rows[:5])
        _lines(folder / "mmlu_no_train" / subject / "test.jsonl", rows[5:8])


def _arc(folder: Path) -> None:
    rows = []
    for number, row in enumerate(json.loads((_published("arc") / "ARC-Challenge__test.json").read_text())[:40]):
        question = row["instruction"].split("question: ", 1)[1].split("\n\nAnswer1:")[0]
        texts = re.split(r"\s*Answer\d: ", row["instruction"].split("\n\nAnswer format")[0])[1:]
        labels = [*"ABCDE"][: len(texts)] if number % 2 else [*"12345"][: len(texts)]
        key = labels[int(row["answer"].removeprefix("answer")) - 1]
        choices = {"text": texts, "label": labels}
        rows.append({"id": str(number), "question": question, "choices": choices, "answerKey": key})
    _lines(folder / "ai2_arc" / "ARC-Challenge" / "test.jsonl", rows)


def _gsm8k(folder: Path) -> None:
    (folder / "gsm8k").symlink_to(_published("gsm8k"))


def _hellaswag(folder: Path) -> None:
    with bz2.open(_published("hellaswag_val") / "hellaswag_val_full.txt.bz2", "rt") as file:
        lines = [line.rstrip("\n") for line, _ in zip(file, range(240), strict=False)]
    rows = [
        {
            "ind": start,
            "activity_label": lines[start].split(": ")[0],
            "ctx_a": lines[start].split(": ", 1)[1],
            "ctx_b": "",
            "endings": lines[start + 2 : start + 6],
            "label": lines[start + 1],
        }
        for start in range(0, 240, 6)
    ]
    _lines(folder / "hellaswag" / "train.jsonl", rows[20:])
    _lines(folder / "hellaswag" / "validation.jsonl", rows[:20])


def _winogrande(folder: Path) -> None:
    rows = []
    for row in json.loads((_published("arc") / "winogrande__test.json").read_text())[:40]:
        sentence, rest = row["instruction"].split("sentence: ", 1)[1].split("\n\nOption1: ")
        one, two = rest.split(" Answer format")[0].split(" Option2: ")
        rows.append({"sentence": sentence, "option1": one, "option2": two, "answer": row["answer"].removeprefix("option")})
    _lines(folder / "winogrande" / "winogrande_xl" / "train.jsonl", rows[20:])
    _lines(folder / "winogrande" / "winogrande_xl" / "validation.jsonl", rows[:20])


def _truthfulqa(folder: Path) -> None:
    (folder / "truthful_qa").symlink_to(_published("truthfulqa"))


def _bbh(folder: Path) -> None:
    (folder / "bbh").mkdir()
    for file in _published("bbh").glob("bbh__*.json"):
        (folder / "bbh" / file.name.removeprefix("bbh__")).symlink_to(file)


def _math(folder: Path) -> None:
    """MATH-500's problems of level 5 in the form of the whole test set."""
    configs = {
        "Algebra": "algebra", "Counting & Probability": "counting_and_probability", "Geometry": "geometry",
        "Intermediate Algebra": "intermediate_algebra", "Number Theory": "number_theory", "Prealgebra": "prealgebra",
        "Precalculus": "precalculus",
    }  # fmt: skip
    rows = [json.loads(line) for line in (_published("math500") / "test.jsonl").read_text().splitlines()]
    for subject, config in configs.items():
        made = [
            {"problem": row["problem"], "level": f"Level {row['level']}", "type": subject, "solution": row["solution"]}
            for row in rows
            if row["subject"] == subject
        ]
        for split in ("train", "test"):
            _lines(folder / "MATH-lighteval" / config / f"{split}.jsonl", made)


def _ifeval(folder: Path) -> None:
    pytest.importorskip("langdetect")
    pytest.importorskip("immutabledict")
    rows = [json.loads(line) for line in (_published("ifeval") / "input_data.jsonl").read_text().splitlines()]
    # The others are checked with NLTK's sentence model, which has to be fetched.
    own = [row for row in rows if SPLIT_INTO_SENTENCES.isdisjoint(row["instruction_id_list"])]
    assert 0 < len(own) < len(rows)
    _lines(folder / "instruction-following-eval" / "input_data.jsonl", own)


CASES: dict[str, tuple[str, Callable[[Path], None], int]] = {
    "mmlu_llama": ("mmlu_llama_college_biology", _mmlu, 3),
    "mmlu_cot_llama": ("mmlu_cot_llama_college_biology", _mmlu, 3),
    "arc_challenge_llama": ("arc_challenge_llama", _arc, 4),
    "gsm8k_llama": ("gsm8k_llama", _gsm8k, 3),
    "hellaswag": ("hellaswag", _hellaswag, 3),
    "winogrande": ("winogrande", _winogrande, 3),
    "truthfulqa_mc2": ("truthfulqa_mc2", _truthfulqa, 3),
    "leaderboard_bbh": ("leaderboard_bbh", _bbh, 1),
    "leaderboard_math_hard": ("leaderboard_math_hard", _math, 1),
    "leaderboard_ifeval": ("leaderboard_ifeval", _ifeval, 4),
}


FEW = ("boolean_expressions", "sports_understanding", "navigate", "math_algebra", "math_prealgebra")
"""Of groups with many members those whose prompts are short."""


@pytest.fixture(scope="module")
def hf_tiny(tiny_llama: Path) -> Any:
    """The tiny model as lm-evaluation-harness runs it."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_llama), dtype="float32", batch_size=1, device="cpu", max_length=6000)


@pytest.mark.parametrize("name", CASES)
def test_items_equal_those_of_lm_eval_hf(
    name: str, tmp_path: Path, tiny_llama: Path, exact_tiny, hf_tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.evaluator import evaluate as run

    source, make, limit = CASES[name]
    make(tmp_path)
    one = task(name).model_copy(update={"source": source})
    monkeypatch.setattr(exact_tiny, "max_length", 6000)

    def made() -> dict[str, Any]:
        """Answers of a few tokens: the model has no cache of keys and values."""
        objects = task_kind(one.kind).harness_tasks(one, seed=0, data_dir=tmp_path)
        if len(objects) > 1:
            objects = {member: made_one for member, made_one in objects.items() if any(part in member for part in FEW)}
        for made_one in objects.values():
            made_one.set_fewshot_seed(seed=0)
            if made_one.OUTPUT_TYPE == "generate_until":
                made_one.config.generation_kwargs["max_gen_toks"] = 3
        return objects

    ours = run_lm_eval(one, made(), exact_tiny, PromptTokenizer(tiny_llama), limit=limit, seed=0)
    theirs = run(
        lm=hf_tiny,
        task_dict={"tasks": made()},
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=one.chat_template,
        fewshot_as_multiturn=one.chat_template,
    )
    filtered = {name: [row for row in rows if row["filter"] == rows[0]["filter"]] for name, rows in theirs["samples"].items()}
    rows = [row for of_member in filtered.values() for row in of_member]
    assert len(ours.items) == len(rows) >= limit
    for item, row in zip(ours.items, rows, strict=True):
        assert (item.item.rpartition("/")[2], item.prompt_hash) == (row["doc_hash"], row["prompt_hash"])
        assert item.target_hash == row["target_hash"]
        if name == "leaderboard_ifeval":
            followed = row["inst_level_strict_acc"]
            assert item.score == (row["prompt_level_strict_acc"] + sum(followed) / len(followed)) / 2
        else:
            assert item.score == pytest.approx(float(row[one.metric]), abs=1e-4 if name == "truthfulqa_mc2" else 0)
        if one.chat_template:
            assert "<|im_start|>user" in row["arguments"][0][0]
            assert row["arguments"][0][0].count("<|im_start|>assistant") == 1 + (one.num_fewshot or 0)
    if one.rescale is None:
        assert ours.summary.rescaled is None
    else:
        assert ours.summary.rescaled is not None and 0 <= ours.summary.rescaled <= 100


def _item(name: str, score: float, chance: float) -> Item:
    return Item(item=name, prompt_hash="", target_hash="", cluster=name, score=score, prediction="", target="", chance=chance)


def test_scores_above_chance_are_the_leaderboards() -> None:
    two = [_item(f"a/{n}", score, 0.5) for n, score in enumerate([1, 1, 1, 0])]  # 0.75 of ½: halfway
    four = [_item(f"b/{n}", score, 0.25) for n, score in enumerate([0, 0, 0, 0])]  # below chance is no less than guessing
    members = task("leaderboard_bbh")
    assert rescaled(members, [*two, *four]) == pytest.approx((50 + 0) / 2)
    # All items together: score 0.375, chance 0.375.
    assert rescaled(task("leaderboard_gpqa"), [*two, *four]) == 0
    assert rescaled(task("leaderboard_mmlu_pro"), [_item("a", 1, 0.2), _item("b", 0, 0.1)]) == pytest.approx(100 * 0.4 / 0.9)
    assert rescaled(task("hellaswag"), two) is None


def test_bbh_and_ifeval_are_read_as_their_authors_publish_them(tmp_path: Path) -> None:
    (tmp_path / "bbh").mkdir()
    examples = [{"input": "not ( True ) is", "target": "False"}]
    (tmp_path / "bbh" / "boolean_expressions.json").write_text(json.dumps({"canary": "…", "examples": examples}))
    assert list(local_dataset(tmp_path, "SaylorTwift/bbh", "boolean_expressions")["test"]) == examples
    _lines(tmp_path / "instruction-following-eval" / "input_data.jsonl", [{"key": 1, "prompt": "Say it."}])
    assert local_dataset(tmp_path, "wis-k/instruction-following-eval", None)["train"][0]["prompt"] == "Say it."
    assert set(data_files(task("leaderboard_ifeval"), tmp_path)) == {"instruction-following-eval/input_data.jsonl"}


def test_three_answers_of_bbh_are_none_of_its_choices_and_cannot_be_given(tmp_path: Path) -> None:
    _bbh(tmp_path)
    objects = task_kind("lm-eval").harness_tasks(task("leaderboard_bbh"), seed=0, data_dir=tmp_path)
    assert len(objects) == 24
    golds = [
        _gold(member, document, [str(choice) for choice in member.doc_to_choice(document)])
        for member in objects.values()
        for document in member.eval_docs
    ]
    assert sum(not gold for gold in golds) == 3
    assert all(len(gold) <= 1 for gold in golds)


def test_a_package_that_a_task_needs_is_named(tmp_path: Path) -> None:
    try:
        import langdetect  # noqa: F401
    except ModuleNotFoundError:
        _lines(tmp_path / "instruction-following-eval" / "input_data.jsonl", [{"key": 1, "prompt": "Say it."}])
        with pytest.raises(UserError, match="needs the package") as raised:
            task_kind("lm-eval").harness_tasks(task("leaderboard_ifeval"), seed=0, data_dir=tmp_path)
        assert "pip install" in str(raised.value.remedy)
