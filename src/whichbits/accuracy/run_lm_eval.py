"""Run task objects of lm-evaluation-harness on one model, and gather their items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import fmean
from typing import Any

from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.harness import HarnessSample, HarnessTask
from whichbits.accuracy.item import Item
from whichbits.accuracy.order import order_documents, taken_documents
from whichbits.accuracy.result import TaskResult, Work, reduced, summarize
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel


def run_lm_eval(
    task: Task,
    harness_tasks: Mapping[str, HarnessTask],
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    *,
    kept: Kept | None = None,
    limit: int | None,
    seed: int,
    most: Callable[[Task, int], int | None] = lambda _task, available: available,
) -> TaskResult:
    """Run lm-evaluation-harness's task objects on `model` and gather their items.

    Few-shot examples that are drawn at random are drawn in the order in which documents are taken.
    `most` says how many items there can be, of the task and how many there are. Only the rows of `kept` are asked.
    Raises KeptDiffer where they are not the task's.
    """
    from lm_eval.evaluator import evaluate as run

    from whichbits.accuracy.lm_eval_model import LmEvalModel
    from whichbits.accuracy.scoring_timeout import limit_scoring

    for harness_task in harness_tasks.values():
        _refuse_samples(task, harness_task)
        limit_scoring(harness_task)
    asked = harness_tasks if task.order is None else order_documents(harness_tasks, task, limit)
    places = taken_documents(asked, limit)
    kept = kept or Kept()
    rows = kept.rows(place.number for place in places)
    some = frozenset(places[row] for row in rows.asked) if len(rows.asked) < len(places) else None
    work, answers = Work(), []
    for sample in range(task.samples):
        for harness_task in harness_tasks.values():
            harness_task.set_fewshot_seed(seed=seed)
        lm = LmEvalModel(
            model,
            tokenizer,
            max_gen_toks=task.max_tokens,
            seed=seed,
            task=task.name,
            templated=task.chat_template,
            sampling=task.sampling,
            sample=sample,
            asked=some,
        )
        outcome = run(
            lm=lm,
            task_dict={"tasks": asked},
            limit=limit if task.order is None else None,
            bootstrap_iters=0,
            cache_requests=False,
            apply_chat_template=task.chat_template,
            fewshot_as_multiturn=task.chat_template,
        )
        work += lm.work
        samples = {name: [HarnessSample.of(row) for row in outcome["samples"][name]] for name in asked}
        answers.append(_items(task, asked, samples, members=len(harness_tasks)))
    made = kept.put(reduced(task, answers), rows)
    available = sum(len(harness_task.eval_docs) for harness_task in harness_tasks.values())
    versions = sorted({str(harness_task.VERSION) for harness_task in harness_tasks.values()})
    return summarize(
        task, made, kept.and_before(work), available=available, most=most(task, available),
        source_version=", ".join(versions), lm_eval=version("lm_eval"), rows=rows,
    )  # fmt: skip


def _refuse_samples(task: Task, harness_task: HarnessTask) -> None:
    """Raise UserError where answers are to be drawn of a task that generates none."""
    if task.temperature > 0 and harness_task.OUTPUT_TYPE != "generate_until":
        raise UserError(
            f"sampling: task {harness_task.task_name} compares the likelihoods of choices, and draws no answer",
            remedy="leave sampling out of this task",
        )


def _items(
    task: Task, asked: Mapping[str, HarnessTask], samples: Mapping[str, Sequence[HarnessSample]], *, members: int
) -> list[Item]:
    """The items of one run over those of a task's members that have any, in the order of `taken_documents`."""
    rows = [(name, sample) for name in asked for sample in _filtered(task, samples[name])]
    return [_item(task, asked[name], sample, prefix=f"{name}/" if members > 1 else "") for name, sample in rows]


def _filtered(task: Task, samples: Sequence[HarnessSample]) -> list[HarnessSample]:
    """The rows of one filter: lm-evaluation-harness writes each item once for each filter of the task."""
    filters = list(dict.fromkeys(sample.filter for sample in samples))
    chosen = task.filter or filters[0]
    if chosen not in filters:
        raise UserError(f"filter: {task.name} has no filter {chosen!r}", remedy=f"choose from {', '.join(filters)}")
    return [sample for sample in samples if sample.filter == chosen]


def _item(task: Task, harness_task: HarnessTask, sample: HarnessSample, *, prefix: str) -> Item:
    metrics = task.metric.split("+")
    for metric in metrics:
        if metric not in sample.metrics:
            raise UserError(
                f"metric: {harness_task.task_name} has no metric {metric!r}",
                remedy=f"choose from {', '.join(sample.metrics)}",
            )
    document, answers = sample.document, sample.answers
    if harness_task.OUTPUT_TYPE == "multiple_choice":
        choices = harness_task.doc_to_choice(document)
        gold = _gold(harness_task, document, choices)
        prediction = choices[_chosen(answers, choices, task.metric)]
        target = " | ".join(choices[index] for index in gold)
        chance = len(gold) / len(choices)
    else:
        prediction, target, chance = str(answers[0]), sample.target, 0.0
    return Item(
        item=prefix + sample.doc_hash,
        prompt_hash=sample.prompt_hash,
        target_hash=sample.target_hash,
        cluster=str((document.get("cluster") if isinstance(document, dict) else None) or prefix + sample.doc_hash),
        score=fmean(_score(task, sample.metrics[metric]) for metric in metrics),
        prediction=prediction,
        target=target,
        chance=chance,
    )


def _score(task: Task, value: Any) -> float:
    """A metric's value of one item, the mean where it has several. Raises UserError for what is no number from 0 to 1."""
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    if isinstance(value, list) and value:  # IFEval: one an instruction of the prompt
        return fmean(_score(task, one) for one in value)
    if getattr(value, "ndim", None) == 0:  # NumPy's and torch's numbers
        return _score(task, value.item())
    raise UserError(
        f"metric: {task.metric!r} of task {task.name} gives {value!r:.80} on an item, and not a number from 0 to 1",
        remedy="choose a metric that scores each item from 0 to 1, as acc or exact_match",
    )


def _gold(harness_task: HarnessTask, document: Any, choices: Sequence[str]) -> list[int]:
    """Indices of the right choices; none where the answer is no choice, and every choice is wrong (three items of BBH)."""
    # Where every choice is a context of its own (Winogrande), the harness keeps the gold index in the text field.
    gold = harness_task.doc_to_text(document) if harness_task.multiple_input else harness_task.doc_to_target(document)
    listed = gold if isinstance(gold, list) else [gold]
    return [
        choices.index(one) if isinstance(one, str) else int(one) for one in listed if one in choices or not isinstance(one, str)
    ]


def _chosen(answers: Sequence[tuple[float, bool]], choices: Sequence[str], metric: str) -> int:
    """Index of the likeliest choice, per character for `acc_norm` and per byte for `acc_bytes`, as the harness does."""
    lengths = {"acc_norm": [len(choice) for choice in choices], "acc_bytes": [len(choice.encode()) for choice in choices]}
    per = lengths.get(metric, [1] * len(choices))
    scores = [answer[0] / length for answer, length in zip(answers, per, strict=False)]
    return scores.index(max(scores))
