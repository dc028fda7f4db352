"""Arena-Hard, v0.1 and v2.0: open questions; a judge says whether the model's answer or a baseline's is better.

An answer is judged `rounds` times in both orders. An item's score is the model's mean score over these judgments, from 0 to 1,
in which a label with >> counts three times; items are paired like any others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.arena.bradley_terry import win_rate
from whichbits.accuracy.arena.files import VERSIONS, Prompt, answer_files, characters, prompts, question_file
from whichbits.accuracy.arena.judge_prompts import Outcome, Round, conversation, outcome_of, win_probability
from whichbits.accuracy.arena.style import Style, difference, style_of
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.judging import Judge, Judging, Message, Reply, work_of
from whichbits.accuracy.kind import JudgedKind
from whichbits.accuracy.result import TaskResult, reduced, summarize, text_hash
from whichbits.accuracy.sampling import sample_seed
from whichbits.accuracy.task import Task
from whichbits.accuracy.thinking.thought import after_thought
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel
from whichbits.schema.evaluate import Judged, Rate


@dataclass(frozen=True)
class Answer:
    """An answer of the model to a question, and its rounds of judgment."""

    question: int
    """Number of the question."""
    text: str
    """What the judge reads: the answer without the thought before it."""
    rounds: tuple[Round, ...] = ()


class ArenaHard(JudgedKind):
    """Arena-Hard's questions, judged against the baselines that it names."""

    name = "arena-hard"
    metrics: ClassVar[tuple[str, ...]] = ("win_rate",)
    sources: ClassVar = VERSIONS

    def __init__(self, judge: Judge | None = None) -> None:
        self.judge = judge

    def judged_by(self, judge: Judge) -> ArenaHard:
        """The kind with its judge."""
        return ArenaHard(judge)

    def judging_work(self, task: Task, *, limit: int | None, data_dir: Path | None) -> str:
        """Judgments of one model, what they read at about four characters a token, and the price at most."""
        judging = judging_of(task)
        read = characters(task.source, data_dir, baseline_of(task))[:limit]
        requests = 2 * judging.rounds * task.samples
        longest = (task.max_tokens or 0) * len(read)
        return work_of(requests * len(read), requests * (sum(read) // 4 + longest), judging)

    def evaluate(
        self,
        task: Task,
        model: LanguageModel,
        tokenizer: PromptTokenizer,
        *,
        limit: int | None,
        seed: int,
        data_dir: Path | None,
        kept: Kept,
    ) -> TaskResult:
        """Mean win probability against the baseline, and the Bradley-Terry win rate with and without style control.

        All items are asked: win rates need every judgment, and kept items have none.
        """
        judging, every = judging_of(task), prompts(task.source, data_dir, baseline_of(task))
        asked = every[:limit]
        requests = [
            tokenizer.chat([{"role": "user", "content": one.text}]) if task.chat_template else one.text for one in asked
        ]
        samples, work = generate_answers(task, model, tokenizer, requests, seed=seed)
        answers = [Answer(number, after_thought(text) or "") for texts in samples for number, text in enumerate(texts)]
        answers, judged = self._judged(answers, asked, judging, tokenizer, seed=seed)
        items = [
            [_item(*four) for four in zip(asked, requests, texts, answers[at : at + len(asked)], strict=True)]
            for at, texts in zip(range(0, len(answers), len(asked)), samples, strict=True)
        ]
        return summarize(task, reduced(task, items), work, available=len(every), most=len(every), judged=judged)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """The files of questions and of the answers to judge against."""
        baseline = baseline_of(task)
        if baseline is not None:
            return {"question.jsonl": question_file(task.source, data_dir), "baseline": readable(baseline)}
        files = [question_file(task.source, data_dir), *answer_files(task.source, data_dir)]
        return {file.name: file for file in files}

    def _judged(
        self, answers: Sequence[Answer], asked: Sequence[Prompt], judging: Judging, tokenizer: PromptTokenizer, *, seed: int
    ) -> tuple[list[Answer], Judged]:
        """The answers with their rounds, and what is said of all together."""
        assert self.judge is not None, "evaluate of accuracy/evaluate.py binds it"
        games = [
            _conversation(asked[answer.question], answer.text, model_is_a=first)
            for answer in answers
            for first in (False, True)
        ]
        seeds = [
            sample_seed(seed, text_hash(game[-1]["content"]), number) for number in range(judging.rounds) for game in games
        ]
        read = [len(tokenizer.encode(message["content"])) for game in games for message in game]
        self.judge.say(work_of(len(seeds), judging.rounds * sum(read), judging))
        replies = self.judge.replies(games * judging.rounds, seeds=seeds)
        outcomes = [outcome_of(reply.text, model_is_a=bool(number % 2)) for number, reply in enumerate(replies)]
        rounds = [Round(*outcomes[at : at + 2]) for at in range(0, len(outcomes), 2)]
        found = [replace(answer, rounds=tuple(rounds[number :: len(answers)])) for number, answer in enumerate(answers)]
        return found, _summary(found, asked, replies, outcomes, judging, tokenizer, seed=seed)


def judging_of(task: Task) -> Judging:
    """How a task is judged. Raises UserError where it does not say."""
    if task.judging is None:
        raise UserError(
            f"judge: task {task.name} needs a judge, and none is named",
            remedy="add judge: {url: ..., model: ...} to the task in the specification",
        )
    return task.judging


def baseline_of(task: Task) -> Path | None:
    """The file of answers that a task names to judge against, where it does."""
    return None if task.judging is None or task.judging.baseline is None else Path(task.judging.baseline)


def readable(file: Path) -> Path:
    """The file. Raises UserError where it is none."""
    if not file.is_file():
        raise UserError(
            f"judge: there is no file {file} of answers to judge against", remedy="give the path of a file as baseline"
        )
    return file


def _conversation(prompt: Prompt, answer: str, *, model_is_a: bool) -> Sequence[Message]:
    a, b = (answer, prompt.baseline) if model_is_a else (prompt.baseline, answer)
    return conversation(prompt.text, prompt.category, a, b)


def _item(prompt: Prompt, request: str, text: str, answer: Answer) -> Item:
    return Item(
        item=prompt.uid,
        prompt_hash=text_hash(request),
        target_hash=text_hash(prompt.baseline),
        cluster=prompt.uid,
        score=win_probability(answer.rounds),
        prediction=text,
        target=prompt.baseline,
    )


def _summary(
    answers: Sequence[Answer],
    asked: Sequence[Prompt],
    replies: Sequence[Reply],
    outcomes: Sequence[Outcome | None],
    judging: Judging,
    tokenizer: PromptTokenizer,
    *,
    seed: int,
) -> Judged:
    rounds = [one for answer in answers for one in answer.rounds]
    labelled = [one for one in rounds if one.outcomes]
    again = [
        before.score != after.score
        for answer in answers
        for side in ("first", "second")
        for before, after in pairwise([getattr(one, side) for one in answer.rounds])
        if before is not None and after is not None
    ]
    read, written = (sum(getattr(reply, name) for reply in replies) for name in ("prompt_tokens", "tokens"))
    priced = judging.prompt_price is not None and judging.output_price is not None
    dollars = (read * (judging.prompt_price or 0) + written * (judging.output_price or 0)) / 1e6 if priced else None
    plain, styled = _rates(answers, asked, tokenizer, seed=seed)
    return Judged(
        judge=judging.model,
        rounds=judging.rounds,
        win_rate=plain,
        win_rate_at_equal_style=styled,
        swayed_by_order=sum(one.swayed for one in labelled) / len(labelled) if labelled else None,
        changed_when_repeated=sum(again) / len(again) if again else None,
        without_label=sum(outcome is None for outcome in outcomes),
        requests=len(replies),
        prompt_tokens=read,
        generated_tokens=written,
        dollars=dollars,
    )


def _rates(
    answers: Sequence[Answer], asked: Sequence[Prompt], tokenizer: PromptTokenizer, *, seed: int
) -> tuple[Rate | None, Rate | None]:
    """Win rates without and with style control; None where no round has labels."""
    rows = [(answer, outcome) for answer in answers for one in answer.rounds for outcome in one.outcomes]
    if not rows:
        return None, None

    def style(text: str) -> Style:
        return style_of(text, tokens=len(tokenizer.encode(text, special=False)))

    _, question = np.unique([answer.question for answer, _ in rows], return_inverse=True)
    scores = np.array([outcome.score for _, outcome in rows])
    weights = np.array([float(outcome.weight) for _, outcome in rows])
    differences = {answer: difference(style(answer.text), style(asked[answer.question].baseline)) for answer in answers}
    styles = np.array([differences[answer] for answer, _ in rows])
    plain = win_rate(question, scores, weights, seed=seed)
    controlled = win_rate(question, scores, weights, seed=seed, style=styles)
    return Rate(rate=plain.rate, low=plain.low, high=plain.high), Rate(
        rate=controlled.rate, low=controlled.low, high=controlled.high
    )
