"""Score one model on one task, item by item."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from whichbits.accuracy.earlier_items import Kept, KeptDiffer
from whichbits.accuracy.judging import Judge
from whichbits.accuracy.kind import JudgedKind
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.result import TaskResult
from whichbits.accuracy.sampling import check
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.engines.protocol import LanguageModel
from whichbits.schema.shard import Shard


def evaluate(
    task: Task,
    model: LanguageModel,
    tokenizer_path: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    trust_remote_code: bool = False,
    kept: Kept | None = None,
    shard: Shard | None = None,
    judge: Judge | None = None,
) -> TaskResult:
    """Score of `model` on `task`, with every item.

    `limit` keeps the first items (of each subtask of a group); `seed` draws generated items, few-shot examples and samples at a
    temperature; `data_dir` holds public data sets for machines without a network; code that comes with the tokenizer runs only
    where `trust_remote_code` says so. What was `kept` of an earlier run with a smaller limit is not asked again, where the kind
    can begin in the middle and the items are the same. With a `shard` the result has its items alone, for `shards.merged`; the
    kind must be `ordered`. `judge` is asked where the task's kind has answers judged.

    Raises UserError where the task cannot be run as stated (an item longer than the engine's context, a data set that cannot be
    reached), and SandboxUnavailable where generated code cannot be confined.
    """
    kind = task_kind(task.kind)
    kind.check(task)
    check(task.sampling)
    if isinstance(kind, JudgedKind):
        if judge is None:
            raise ValueError(f"task {task.name} is judged, and there is no judge")
        kind = kind.judged_by(judge)
    tokenizer = PromptTokenizer(tokenizer_path, trust_remote_code=trust_remote_code, mode=task.mode)
    known = replace(kept or Kept(), shard=shard)
    try:
        return kind.evaluate(task, model, tokenizer, limit=limit, seed=seed, data_dir=data_dir, kept=known)
    except KeptDiffer as changed:  # its data are not what they were
        logging.getLogger(__name__).warning("item %s is not as it was: all items are asked again", changed)
        return kind.evaluate(task, model, tokenizer, limit=limit, seed=seed, data_dir=data_dir, kept=Kept(shard=shard))
