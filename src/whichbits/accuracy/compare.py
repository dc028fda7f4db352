"""Compare two models' answers to one task by a judge, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whichbits.accuracy.comparison import AnsweredTwice, Comparison
from whichbits.accuracy.judging import Judge
from whichbits.accuracy.kind import JudgedKind
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.schema.evaluate import SampledItem


def compare(
    task: Task,
    answered: Sequence[SampledItem],
    others: Sequence[SampledItem],
    tokenizer_path: Path,
    *,
    judge: Judge,
    seed: int = 0,
    data_dir: Path | None = None,
    trust_remote_code: bool = False,
) -> Comparison:
    """The win probability of one model's answers against another's, both as their evaluations of the task hold them.

    Several answers to an item are compared in their order. Raises ValueError where the two answered different prompts, and
    UserError where `data_dir` has not the task's questions.
    """
    kind = task_kind(task.kind)
    if not isinstance(kind, JudgedKind):
        raise ValueError(f"the answers of task {task.name} are not judged")
    prompts = {one.item: one.prompt_hash for one in others}
    if len(prompts) != len(answered) or any(prompts.get(one.item) != one.prompt_hash for one in answered):
        raise ValueError(f"{task.name}: the two evaluations have not answered the same prompts")
    by_item = {one.item: one for one in others}
    pairs = [AnsweredTwice(one.item, _texts(one), _texts(by_item[one.item])) for one in answered]
    tokenizer = PromptTokenizer(tokenizer_path, trust_remote_code=trust_remote_code, mode=task.mode)
    return kind.judged_by(judge).compare(task, pairs, tokenizer, seed=seed, data_dir=data_dir)


def _texts(item: SampledItem) -> tuple[str, ...]:
    return item.sample_predictions or (item.prediction,)
