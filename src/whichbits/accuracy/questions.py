"""Questions that are asked one by one, each answered in text and scored by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.result import TaskResult, reduced, summarize
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.engines.protocol import LanguageModel

QuestionT = TypeVar("QuestionT")


def evaluate_questions(
    task: Task,
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    questions: Sequence[QuestionT],
    request: Callable[[QuestionT], str],
    scored: Callable[[QuestionT, str, str], Item],
    *,
    limit: int | None,
    seed: int,
    kept: Kept,
) -> TaskResult:
    """Share of right answers, or what the task's reducer makes of several answers; questions that are kept are not asked.

    `questions` are all of the task in their order, `request` is what one asks, and `scored` makes its item of prompt and reply.
    Raises KeptDiffer where kept items are not the task's.
    """

    def prompt(question: QuestionT) -> str:
        text = request(question)
        return tokenizer.chat([{"role": "user", "content": text}]) if task.chat_template else text

    taken = questions[:limit]
    rows = kept.rows(range(len(taken)))
    asked = [taken[place] for place in sorted(rows.asked)]
    prompts = [prompt(question) for question in asked]
    samples, work = generate_answers(task, model, tokenizer, prompts, seed=seed)
    items = [[scored(*three) for three in zip(asked, prompts, replies, strict=True)] for replies in samples]
    made = kept.put_together(rows, taken, reduced(task, items), lambda one: scored(one, prompt(one), ""))
    every = len(questions)
    return summarize(task, made, kept.and_before(work), available=every, most=every, rows=rows)
