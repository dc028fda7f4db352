"""Arena-Hard, v0.1 and v2.0: open questions; a judge says whether the model's answer or another is better.

An answer is judged `rounds` times in both orders: against a baseline's, and, of a candidate, against the base's too. An item's
score is the model's mean score over these judgments, from 0 to 1, in which a label with >> counts three times; items are
paired like any others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.arena.files import VERSIONS, Prompt, answer_files, characters, prompts, question_file, questions
from whichbits.accuracy.arena.judge_prompts import Round, win_probability
from whichbits.accuracy.arena.pairs import Pair, judge_pairs
from whichbits.accuracy.comparison import AnsweredTwice, Comparison
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.judging import Judge, Judging, JudgingWork, work_of
from whichbits.accuracy.kind import JudgedKind
from whichbits.accuracy.result import TaskResult, reduced, summarize, text_hash
from whichbits.accuracy.task import Task
from whichbits.accuracy.thinking.thought import after_thought
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel
from whichbits.schema.judge import ComparedItem


class ArenaHard(JudgedKind):
    """Arena-Hard's questions, judged against the baselines that it names."""

    name = "arena-hard"
    metrics: ClassVar[tuple[str, ...]] = ("win_rate",)
    sources: ClassVar = VERSIONS

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge

    def judged_by(self, judge: Judge) -> ArenaHard:
        """The kind with its judge."""
        return ArenaHard(judge)

    @property
    def judge(self) -> Judge:
        """Who compares answers."""
        assert self._judge is not None, "`judged_by` gives it one"
        return self._judge

    def judging_work(self, task: Task, *, limit: int | None, data_dir: Path | None) -> JudgingWork:
        """Judgments of one model against the baseline; a token is taken to be about four characters."""
        judging = judging_of(task)
        read = characters(task.source, data_dir, baseline_of(task))[:limit]
        return _work(task, judging, read, open_answers=1)

    def comparison_work(self, task: Task, *, limit: int | None, data_dir: Path | None) -> JudgingWork:
        """The same of one model against another, of whose answers only the longest length is known."""
        judging = judging_of(task)
        read = [len(question.prompt) for question in questions(task.source, data_dir)[:limit]]
        return _work(task, judging, read, open_answers=2)

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
        pairs = [
            Pair(number, one.text, one.category, after_thought(text) or "", one.baseline)
            for texts in samples
            for number, (one, text) in enumerate(zip(asked, texts, strict=True))
        ]
        found = judge_pairs(pairs, self.judge, judging, tokenizer, seed=seed)
        items = [
            [_item(*four) for four in zip(asked, requests, texts, found.rounds[at : at + len(asked)], strict=True)]
            for at, texts in zip(range(0, len(pairs), len(asked)), samples, strict=True)
        ]
        return summarize(task, reduced(task, items), work, available=len(every), most=len(every), judged=found.judged)

    def compare(
        self, task: Task, answers: Sequence[AnsweredTwice], tokenizer: PromptTokenizer, *, seed: int, data_dir: Path | None
    ) -> Comparison:
        """Win probability of one model's answers against another's, item by item; answers that are the same are ties.

        Raises UserError where the questions are not those that were answered.
        """
        asked = {question.uid: question for question in questions(task.source, data_dir)}
        if missing := [one.item for one in answers if one.item not in asked]:
            raise UserError(
                f"data_dir: question {missing[0]} of Arena-Hard {task.source} was answered, and is not there",
                remedy="name the folder that the answers were made with as --data-dir",
            )
        pairs = []
        for number, one in enumerate(answers):
            for texts in zip(one.answers, one.others, strict=True):
                answer, other = (after_thought(text) or "" for text in texts)
                question = asked[one.item]
                pairs.append(Pair(number, question.prompt, question.category, answer, other, is_tie=answer == other))
        found = judge_pairs(pairs, self.judge, judging_of(task), tokenizer, seed=seed)
        rounds: dict[int, list[Round]] = {}
        for pair, each in zip(pairs, found.rounds, strict=True):
            rounds.setdefault(pair.question, []).extend(each)
        same = {pair.question: True for pair in pairs} | {pair.question: False for pair in pairs if not pair.is_tie}
        items = [ComparedItem(one.item, win_probability(rounds[number]), same[number]) for number, one in enumerate(answers)]
        return Comparison(tuple(items), found.judged)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """The files of questions and of the answers to judge against."""
        baseline = baseline_of(task)
        if baseline is not None:
            return {"question.jsonl": question_file(task.source, data_dir), "baseline": readable(baseline)}
        files = [question_file(task.source, data_dir), *answer_files(task.source, data_dir)]
        return {file.name: file for file in files}


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


def _work(task: Task, judging: Judging, read: Sequence[int], *, open_answers: int) -> JudgingWork:
    """Judgments of items with so many characters known, and so many answers each that may be of the longest length."""
    requests = 2 * judging.rounds * task.samples
    longest = open_answers * (task.max_tokens or 0) * len(read)
    return work_of(requests * len(read), requests * (sum(read) // 4 + longest), judging)


def _item(prompt: Prompt, request: str, text: str, rounds: Sequence[Round]) -> Item:
    return Item(
        item=prompt.uid,
        prompt_hash=text_hash(request),
        target_hash=text_hash(prompt.baseline),
        cluster=prompt.uid,
        score=win_probability(rounds),
        prediction=text,
        target=prompt.baseline,
    )
