"""Texts that a model generates for prompts, several a prompt, all in one stream."""

from __future__ import annotations

import time
from collections.abc import Sequence

from whichbits.accuracy.replies.measure import Reply
from whichbits.accuracy.result import Work, text_hash
from whichbits.accuracy.sampling import sample_seed
from whichbits.accuracy.task import Task
from whichbits.accuracy.thinking.thought import begun_thought, cut_answer
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import Generated, LanguageModel

ENGINE_STOPS = 4
"""Stop strings sent to the engine (OpenAI-compatible servers refuse more); all of them are applied here afterwards."""


def generate_answers(
    task: Task, model: LanguageModel, tokenizer: PromptTokenizer, prompts: Sequence[str], *, seed: int
) -> tuple[list[list[str]], Work]:
    """Texts of each sample, (samples, prompts), and the tokens of all; a text ends before the first of the task's stops.

    In a thinking mode stop strings end the answer, not the thought before it, and the work says what replies were like.
    Prompts of a task with `chat_template` are what the template wrote, and get no special tokens. Raises UserError for a prompt
    that does not fit the engine.
    """
    limit = task.max_tokens
    if limit is None:
        raise UserError(
            f"max_tokens: task {task.name} sets no limit on the answer's length", remedy="set max_tokens, for example 512"
        )
    if not prompts:
        return [[] for _ in range(task.samples)], Work()
    ids = [tokenizer.encode(prompt, special=False if task.chat_template else None) for prompt in prompts]
    for one in ids:
        check_fits(task.name, len(one), limit, model.max_length)
    drawn = task.temperature > 0
    seeds = [sample_seed(seed, text_hash(prompt), sample) for sample in range(task.samples) for prompt in prompts]
    began = time.monotonic()
    made = model.generate(
        ids * task.samples,
        max_tokens=limit,
        stop=task.stop[:ENGINE_STOPS] if task.mode is None else (),
        temperature=task.temperature,
        top_p=task.top_p,
        seed=seeds if drawn else seed,
        special_tokens=tokenizer.marks_are_special,
    )
    work = Work(task.samples * sum(map(len, ids)), sum(one.tokens for one in made))
    if task.mode is None:
        texts = [_cut(one.text, task.stop) for one in made]
    else:
        asked = [*prompts] * task.samples
        texts = [cut_answer(begun_thought(prompt) + one.text, task.stop) for prompt, one in zip(asked, made, strict=True)]
        work += replied(asked, made, time.monotonic() - began)
    return [texts[start : start + len(prompts)] for start in range(0, len(texts), len(prompts))], work


def replied(prompts: Sequence[str], made: Sequence[Generated], seconds: float) -> Work:
    """The replies to prompts, and the time that they took; their tokens are counted elsewhere."""
    pairs = zip(prompts, made, strict=True)
    found = [(text_hash(prompt), Reply(one.text, one.tokens, one.finish_reason)) for prompt, one in pairs]
    return Work(replies=tuple(found), seconds=seconds)


def check_fits(task: str, prompt: int, output: int, max_length: int) -> None:
    """Raise UserError where tokens of prompt and output together are more than the engine's `max_length`."""
    if prompt + output > max_length:
        raise UserError(
            f"task: {task} has an item of {prompt} prompt tokens, which with {output} tokens of output is longer than "
            f"the engine's {max_length}",
            remedy="raise the engine's max_length, ask for fewer few-shot examples, or leave this task out",
        )


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
