"""Remedies of RULER's tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.kinds.ruler import asked_items, check_length, source_of
from whichbits.accuracy.registry import task
from whichbits.accuracy.ruler.haystack import haystack
from whichbits.accuracy.ruler.members import MEMBERS, Drafts
from whichbits.accuracy.ruler.questions import question_set
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer


def ruler(source: str) -> Task:
    return task("ruler_4k").model_copy(update={"source": source})


def test_sources_and_lengths(follow: Any, embedded_model: Path):
    follow("states no length of", mistake=lambda: source_of(ruler("vt")), remedy=lambda: source_of(ruler("vt@8192")))
    raised = follow("RULER has no task", mistake=lambda: source_of(ruler("niah@4096")), remedy=lambda: None)
    for name in raised.remedy.removeprefix("choose from ").split(", "):
        source_of(ruler(f"{name}@4096"))
    one = ruler("vt@8192")
    follow("and the engine takes", mistake=lambda: check_length(one, 8192, 4096), remedy=lambda: check_length(one, 8192, 8192))
    tokenizer, text = PromptTokenizer(embedded_model), haystack(None)

    def made(length: int) -> None:
        list(asked_items(Drafts(MEMBERS["cwe"], length, "", text, None), [0], tokenizer, chat=False, prefixed=True))

    follow("of RULER's {name} does not fit", mistake=lambda: made(1024), remedy=lambda: made(8192))


def test_files(follow: Any, tmp_path: Path):
    text, essays, squad = (tmp_path / name for name in ("haystack.txt", "PaulGrahamEssays.json", "dev-v2.0.json"))
    text.write_text("a word " * 100)
    essays.write_text(json.dumps({"text": "an essay " * 100}))
    follow("the haystack is in", mistake=lambda: haystack(tmp_path), remedy=lambda: (essays.unlink(), haystack(tmp_path)))
    text.write_text("a word")
    follow(
        "words of text",
        mistake=lambda: haystack(tmp_path),
        remedy=lambda: (text.write_text("a word " * 100), haystack(tmp_path)),
    )
    asked = {"question": "Who?", "answers": [{"text": "She"}]}
    squad.write_text(json.dumps({"data": [{"paragraphs": [{"qas": [asked]}]}]}))
    whole = {"data": [{"paragraphs": [{"context": "It was She.", "qas": [asked]}]}]}
    follow(
        "{file} {place}: {first}",
        mistake=lambda: question_set("qa_1", tmp_path),
        remedy=lambda: (squad.write_text(json.dumps(whole)), question_set("qa_1", tmp_path)),
    )
    task_kind("ruler").data_files(ruler("qa_1@4096"), tmp_path)
