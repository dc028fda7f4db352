"""RULER's tasks: answers read out of the prompts by other means, lengths in the tokenizer's own tokens, one item a seed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.kinds.ruler import Asked, Ruler, asked_items, source_of
from whichbits.accuracy.registry import expand, task
from whichbits.accuracy.result import Work
from whichbits.accuracy.ruler.haystack import Haystack, haystack, ours
from whichbits.accuracy.ruler.members import GROUPS, MEMBERS, Drafts, match
from whichbits.accuracy.ruler.vocabulary import words
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError

LENGTH = 4096
LONGEST_UNIT = 110
"""Tokens of a line with two UUIDs, the largest unit of filler; other units are at most 16."""


@pytest.fixture(scope="module")
def tokenizer(embedded_model: Path) -> PromptTokenizer:
    return PromptTokenizer(embedded_model)


def made(
    name: str, tokenizer: PromptTokenizer, *, length: int = LENGTH, count: int = 3, seed: int = 0, data_dir: Path | None = None
) -> list[Asked]:
    drafts = Drafts(MEMBERS[name], length, f"ruler/1/{seed}", haystack(data_dir), data_dir)
    return list(asked_items(drafts, range(count), tokenizer, chat=True, prefixed=True))


@pytest.mark.parametrize("name", GROUPS["synthetic"])
@pytest.mark.parametrize("length", [4096, 8192])
def test_prompt_and_answer_fill_the_length(name: str, length: int, tokenizer: PromptTokenizer) -> None:
    member = MEMBERS[name]
    for item in made(name, tokenizer, length=length, count=2):
        left = length - member.max_tokens - len(tokenizer.encode(item.prompt, special=False))
        assert 0 <= left <= (LONGEST_UNIT if name == "niah_multikey_3" else 32)


@pytest.mark.parametrize("name", [name for name in GROUPS["synthetic"] if name.startswith("niah")])
def test_needles_are_where_the_answers_come_from(name: str, tokenizer: PromptTokenizer) -> None:
    singular = not name.startswith("niah_multi") or name.startswith("niah_multikey")
    for item in made(name, tokenizer):
        kind = re.search(r"special magic (number|uuid)", item.prompt)
        assert kind is not None
        given: dict[str, list[str]] = {}
        for key, value in re.findall(rf"One of the special magic {kind[1]}s for (\S+) is: (\S+?)\.(?=\s|$)", item.prompt):
            given.setdefault(key, []).append(value)
        asked = re.search(
            r"What is the special magic \w+ for (.+) mentioned"
            if singular
            else r"What are all the special magic \w+ for (.+) ment",
            item.prompt,
        )
        assert asked is not None
        keys = re.split(r", and |, ", asked[1])
        assert sorted(value for key in keys for value in given[key]) == sorted(item.answers)
        assert item.prompt.rstrip().endswith(f"for {asked[1]} mentioned in the provided text {'is' if singular else 'are'}")
    if name in ("niah_multikey_2", "niah_multikey_3"):
        assert len(given) > 30
    else:
        shape = {"niah_multikey_1": (4, 1), "niah_multivalue": (1, 4), "niah_multiquery": (4, 1)}.get(name, (1, 1))
        assert (len(given), {len(values) for values in given.values()}) == (shape[0], {shape[1]})
        assert len(keys) == (4 if name == "niah_multiquery" else 1)


def test_variables_are_those_that_the_value_reaches(tokenizer: PromptTokenizer) -> None:
    for item in made("vt", tokenizer):
        example, text = item.prompt.rsplit("Memorize and track", 1)
        value = re.search(r"assigned the value (\d+) in the text", text)
        assert value is not None
        holds: list[str] = []
        for name, source in re.findall(r"VAR ([A-Z]+) = (?:VAR )?(\w+)", text):
            if source == value[1] or source in holds:
                holds.append(name)
        assert tuple(holds) == item.answers
        assert len(holds) == 5
        assert "they are:" in example  # the worked example has its answer
        assert item.prompt.rstrip().endswith(f"5 variables are assgined the value {value[1]}, they are:")


def test_common_words_are_the_ten_most_frequent(tokenizer: PromptTokenizer) -> None:
    for length in (4096, 16384):
        for item in made("cwe", tokenizer, length=length, count=2):
            listed = re.findall(r"\d+\. (\S+)", item.prompt.rsplit("Memorize the ones", 1)[1].split("\nQuestion")[0])
            counts = Counter(listed)
            assert {word for word, count in counts.most_common(10)} == set(item.answers)
            assert {counts[word] for word in item.answers} == {30}
            assert max(count for word, count in counts.items() if word not in item.answers) <= 3
            assert not any(one != other and one in other for one in item.answers for other in item.answers)


def test_coded_words_are_the_three_most_frequent_but_for_the_dots(tokenizer: PromptTokenizer) -> None:
    for item in made("fwe", tokenizer):
        text = item.prompt.split("coded words. ", 1)[1].split("\nQuestion")[0]
        ranked = [word for word, _ in Counter(text.split()).most_common(5)]
        assert ranked[0] == "..."
        assert tuple(ranked[1:4]) == item.answers
        assert all(re.fullmatch("[a-z]{6}", word) for word in ranked[1:])


def test_an_item_is_a_function_of_seed_length_and_number(tokenizer: PromptTokenizer) -> None:
    long, short = made("niah_single_2", tokenizer, count=3), made("niah_single_2", tokenizer, count=1)
    assert long[:1] == short
    assert len({item.prompt for item in long}) == 3
    assert made("niah_single_2", tokenizer, count=1, seed=1) != short
    assert len(set(words())) == len(words()) >= 800


def test_the_users_text_is_the_haystack(tokenizer: PromptTokenizer, tmp_path: Path) -> None:
    (tmp_path / "haystack.txt").write_text(" ".join(f"The {n}th of them sang." for n in range(2000)), encoding="utf-8")
    item = made("niah_single_2", tokenizer, count=1, data_dir=tmp_path)[0]
    assert "The 3th of them sang. The 4th of them sang." in item.prompt
    assert set(Ruler().data_files(task("ruler_synthetic_4k"), tmp_path)) == {"haystack.txt"}
    (tmp_path / "haystack.txt").write_text("too short")
    with pytest.raises(UserError, match="fewer than 100 words"):
        haystack(tmp_path)
    (tmp_path / "haystack.txt").unlink()
    (tmp_path / "PaulGrahamEssays.json").write_text(json.dumps({"text": "An essay. " * 100}))
    assert haystack(tmp_path).name == "PaulGrahamEssays.json"
    (tmp_path / "haystack.txt").write_text("word " * 200)
    with pytest.raises(UserError, match="keep one"):
        haystack(tmp_path)


def test_a_haystack_begins_again_where_it_is_too_short() -> None:
    text = Haystack.of("t", ["One two.", "Three four five."])
    assert text.first(4) == ["One two.", "Three four"]
    assert text.first(5) == ["One two.", "Three four five."]
    assert text.first(6) == ["One two.", "Three four five.", "One"]
    assert ours().words > 131_072


@pytest.fixture
def question_files(tmp_path: Path) -> Path:
    """Forty articles of two paragraphs in SQuAD's form, and as many questions in HotpotQA's."""

    def paragraph(number: int, part: int) -> dict[str, object]:
        asked = {"question": f"Who found {number}-{part}?", "answers": [{"text": f"Finder {number}-{part}"}] * 2}
        never = {"question": "Who?", "answers": [], "is_impossible": True}
        return {"context": f"It was Finder {number}-{part} who found it. " * 12, "qas": [never, asked]}

    squad = {"data": [{"paragraphs": [paragraph(number, part) for part in (1, 2)]} for number in range(40)]}
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(squad))
    hotpot = [
        {
            "question": f"Which is {n}?",
            "answer": f"answer {n}",
            "context": [[f"Title {n}", [f"Here is answer {n}. ", "More. " * 20]], [f"Other {n}", ["Else. " * 20]]],
        }
        for n in range(60)
    ]
    (tmp_path / "hotpot_dev_distractor_v1.json").write_text(json.dumps(hotpot))
    return tmp_path


@pytest.mark.parametrize("name", ["qa_1", "qa_2"])
def test_questions_lie_among_documents_of_others(name: str, question_files: Path, tokenizer: PromptTokenizer) -> None:
    items = made(name, tokenizer, length=2048, count=4, data_dir=question_files)
    for number, item in enumerate(items):
        documents = re.split(r"Document \d+:\n", item.prompt)[1:]
        holding = [document for document in documents if re.search(rf"{item.answers[0]}\b", document)]
        assert len(holding) == 1
        assert len(documents) > 8
        left = 2048 - 32 - len(tokenizer.encode(item.prompt, special=False))
        assert 0 <= left <= 16
        if name == "qa_1":
            assert item.answers == (f"Finder {number // 2}-{number % 2 + 1}",)  # given twice, asked for once
            assert f"Finder {number // 2}-{2 - number % 2}" in item.prompt  # the article's other paragraph comes first
    assert len({item.cluster for item in items}) == 4


def test_questions_need_their_files(tmp_path: Path, tokenizer: PromptTokenizer) -> None:
    for name, file in (("qa_1", "dev-v2.0.json"), ("qa_2", "hotpot_dev_distractor_v1.json")):
        one = task("ruler_4k").model_copy(update={"source": f"{name}@4096"})
        for data_dir in (None, tmp_path):
            with pytest.raises(UserError) as raised:
                task_kind("ruler").data_files(one, data_dir)
            assert file in str(raised.value)
    (tmp_path / "dev-v2.0.json").write_text('{"data": [{"paragraphs": [{"qas": []}]}]}')
    with pytest.raises(UserError, match=r"dev-v2.0.json data\.0\.paragraphs\.0\.context"):
        made("qa_1", tokenizer, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("reply", "answers", "every", "score"),
    [
        ("They are 12, 34 and 56.", ["12", "34", "56", "78"], True, 0.75),
        ("it is PARIS of course", ["Paris", "the city of Paris"], False, 1),
        ("it is PARIS of course", ["Paris", "the city of Paris"], True, 0.5),
        ("", ["12"], True, 0),
        ("nothing", ["Paris"], False, 0),
    ],
)
def test_replies_are_matched_as_rulers(reply: str, answers: Sequence[str], every: bool, score: float) -> None:
    assert match(reply, answers, every=every) == score


class Reader:
    """A model that copies the key's number out of the prompt."""

    max_length = 5000

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        self.tokenizer = tokenizer
        self.asked = 0

    def generate(self, prompts: Sequence[Sequence[int]], *, max_tokens: int, **_: object) -> Iterator[SimpleNamespace]:
        assert max_tokens == 128
        self.asked += len(prompts)
        texts = [self.tokenizer.hf.decode(prompt) for prompt in prompts]
        keys = [re.search(r"magic number for (\S+) mentioned", text) for text in texts]
        found = [re.search(rf"for {re.escape(key[1])} is: (\d+)", text) for key, text in zip(keys, texts, strict=True) if key]
        return [SimpleNamespace(text=f" {one[1]}.", tokens=4) for one in found if one]


def small(source: str, items: int = 3) -> Task:
    return task("ruler_synthetic_4k").model_copy(update={"source": source, "items": items})


def test_a_task_is_scored_member_by_member(tokenizer: PromptTokenizer, embedded_model: Path) -> None:
    model = Reader(tokenizer)
    result = evaluate(small("niah_single_1,niah_multikey_1@1024"), model, embedded_model, limit=2)
    assert [item.item for item in result.items] == [
        "niah_single_1/0", "niah_single_1/1", "niah_multikey_1/0", "niah_multikey_1/1",
    ]  # fmt: skip
    assert result.summary.score == 1
    assert (result.summary.n, result.summary.available, result.summary.most) == (4, 6, None)
    assert result.summary.source_version == "haystack: sentences made here"
    assert 896 - 32 <= result.summary.prompt_tokens <= 896


def test_kept_items_are_not_asked_again(tokenizer: PromptTokenizer, embedded_model: Path) -> None:
    one = small("niah_single_1,niah_multikey_1@1024")
    first = evaluate(one, Reader(tokenizer), embedded_model, limit=1)
    kept = Kept(1, {item.item: item for item in first.items}, Work(10, 1))
    model = Reader(tokenizer)
    again = evaluate(one, model, embedded_model, limit=3, kept=kept)
    assert model.asked == 4
    assert again.kept == 1
    assert again.items == evaluate(one, Reader(tokenizer), embedded_model, limit=3).items


def test_mistakes_are_told(tokenizer: PromptTokenizer, embedded_model: Path) -> None:
    for source in ("vt", "vt@", "vt@100", "vt@4k"):
        with pytest.raises(UserError, match="states no length"):
            source_of(small(source))
    with pytest.raises(UserError, match="no task 'niah'"):
        source_of(small("niah@4096"))
    with pytest.raises(UserError, match="the engine takes 5000"):
        evaluate(small("vt@8192"), Reader(tokenizer), embedded_model)
    with pytest.raises(UserError, match="does not fit 1024 tokens"):
        evaluate(small("cwe@1024"), Reader(tokenizer), embedded_model)


def test_a_task_of_the_users() -> None:
    one = task_kind("ruler").define(TaskRequest("mine", "vt, fwe@20000", chat_template=True))
    assert (one.items, one.chat_template, one.metric) == (500, True, "string_match")
    assert task_kind("ruler").with_items(one, 800, seed=0).items == 800
    assert task_kind("ruler").request_length(one) == 20_000


def test_the_shipped_lengths() -> None:
    lengths = [4096, 8192, 16384, 32768, 65536, 131072]
    for suite, members in (("long-context", GROUPS["all"]), ("long-context-synthetic", GROUPS["synthetic"])):
        found = [source_of(one) for one in expand([suite])]
        assert [length for _, length in found] == lengths
        assert {tuple(member.name for member in of_length) for of_length, _ in found} == {members}
    assert len(GROUPS["all"]) == 13
    assert {one.items for one in expand(["long-context"])} == {500}
