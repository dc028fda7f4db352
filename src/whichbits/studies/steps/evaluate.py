"""Step `evaluate`: score a checkpoint on a task, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.engine import Emulation, ServingEngine
from whichbits.schema.evaluate import EvaluateInputs, EvaluateLocal
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.steps.forecast import Ask, batch_seconds
from whichbits.studies.steps.judges import Judges, judge_for
from whichbits.studies.steps.modes import PROMPT_TOKENS, InModes
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.judge import is_judged
from whichbits.studies.steps.shared.on_engine import engines, on_engine, repeated, server, trusted
from whichbits.studies.steps.shared.scored import PRELOAD, scored, summary_of, task_of
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.judging import JudgingWork
    from whichbits.accuracy.task import Task
    from whichbits.studies.specification.schema import TaskChoice
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject


def tasks(study: Study) -> tuple[tuple[Task, TaskChoice], ...]:
    """Tasks of a study with what the specification says of each; a suite stands for its tasks."""
    from whichbits.accuracy.sampling import check as check_sampling

    specification, found = study.specification, list[tuple["Task", "TaskChoice"]]()
    in_modes, judges = InModes(study), Judges(study)
    for index, choice in enumerate(specification.tasks):
        try:
            if choice.sampling is not None:
                check_sampling(choice.sampling)
        except UserError as error:
            raise study.source.placed(("tasks", index, "sampling"), error) from error
        try:
            named = tasks_of(choice)
        except UserError as error:
            raise study.source.placed(("tasks", index, "name" if choice.lm_eval is None else "lm_eval"), error) from error
        named = judges.of(index, choice, named)
        try:
            expanded = tuple(_extended(task, choice.limit, specification.seed) for task in named)
        except UserError as error:
            raise study.source.placed(("tasks", index, "limit"), error) from error
        expanded = in_modes.of(index, choice, expanded)
        if specification.decide is not None:
            try:
                expanded = tuple(_in_random_order(task, specification.seed) for task in expanded)
            except UserError as error:
                raise study.source.placed(("tasks", index), error) from error
        names = [*(task.name for task, _ in found), *(task.name for task in expanded)]
        study.source.refuse_twice(("tasks", index), "task", names)
        found += [(task, choice) for task in expanded]
    in_modes.check_used()
    judges.check_used()
    return tuple(found)


def left_out(study: Study) -> tuple[str, ...]:
    """What is said of each task that is left out since no judge is named."""
    return tuple(
        f"{task.name} is left out, as no judge of its answers is named. To have it judged, add "
        "--judge '{url: http://HOST:PORT, model: NAME}', or `judge:` to the specification."
        for choice in study.specification.tasks
        if choice.skip_without_judge and judge_for(study, choice) is None
        for task in tasks_of(choice)
        if is_judged(task)
    )


def tasks_of(choice: TaskChoice) -> tuple[Task, ...]:
    """Tasks that an entry of the specification stands for, with its sampling. Raises UserError for what is no task."""
    found = _named(choice)
    return found if choice.sampling is None else tuple(task.sampled(choice.sampling) for task in found)


def _named(choice: TaskChoice) -> tuple[Task, ...]:
    if choice.made_of is not None:
        from whichbits.accuracy.kinds.registry import task_kind
        from whichbits.accuracy.task import TaskRequest

        kind, source = choice.made_of
        more = (choice.metric, choice.filter, choice.num_fewshot, choice.max_tokens, choice.stop, choice.chat_template)
        return (task_kind(kind).define(TaskRequest(choice.name, source, *more)),)
    from whichbits.accuracy.registry import expand

    return expand([choice.name])


def _extended(task: Task, limit: int | None, seed: int) -> Task:
    """The task with as many items as are asked for, where they can be made and are more than it has by default."""
    from whichbits.accuracy.kinds.registry import task_kind

    return task if limit is None else task_kind(task.kind).with_items(task, limit, seed=seed)


def _in_random_order(task: Task, seed: int) -> Task:
    """The task with its items in a random order. Raises UserError where it is not evaluated a part at a time."""
    from whichbits.accuracy.kinds.registry import task_kind

    if not task_kind(task.kind).ordered:
        raise UserError(
            f"decide: task {task.name} cannot be looked at before its end: its kind asks all items anew each time",
            remedy="leave the task out, or leave out decide (--until-decided)",
        )
    return task if task_kind(task.kind).drawn else task.model_copy(update={"order": seed})


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate, engine it runs in, and task; the served base's tasks are repeated."""
    only_emulated = any(subject.emulated and not subject.served for subject in study.subjects)
    for subject in study.subjects:
        for label, engine in engines(study, subject):
            repeats = study.specification.base_repeats if subject.name == study.base and label != "emulated" else 1
            for repeat in range(repeats):
                for task, choice in study.tasks:
                    emulates = choice.emulate or not subject.served or (subject.name == study.base and only_emulated)
                    if (repeat and not choice.repeat) or (label == "emulated" and not emulates):
                        continue
                    ran_in = engine if isinstance(engine, Emulation) else repeated(engine, repeat)
                    yield _on_task(study, subject, label, ran_in, task, choice.limit, repeat)


def _on_task(
    study: Study, subject: Subject, label: str, engine: ServingEngine | Emulation, task: Task, limit: int | None, repeat: int
) -> Planned:
    from whichbits.accuracy.kinds.registry import task_kind
    from whichbits.accuracy.replies.registry import measure_packages

    in_file = task_kind(task.kind).reads_source
    count = study.items_of(subject.name, task.name)
    if count is not None:
        limit = min(one for one in (count, limit, task.items) if one is not None)
    inputs: EvaluateInputs[Task] = EvaluateInputs(
        checkpoint=subject.checkpoint,
        copies=subject.copies,
        engine=engine,
        hardware=study.hardware.key(),
        server=server(study, subject, label),
        task=task.model_copy(update={"source": Path(task.source).name}) if in_file else task,
        data=_data_hash(task, study.data_dir),
        seed=study.specification.seed,
        repeat=repeat,
        packages=None if task.mode is None else measure_packages(),
    )
    local: EvaluateLocal[Task] = EvaluateLocal(
        checkpoint=subject.ready,
        tokenizer=study.model.path,
        trust_remote_code=trusted(study),
        task=task,
        data_dir=study.data_dir,
    )
    labels = Labels(task=task.name, repeat=repeat, mode=None if task.mode is None else task.mode.name)
    timed = task.mode is not None
    return on_engine(study, EVALUATE, subject, label, inputs, labels, local, limit or task.items or "all", timed=timed)


def request_length(tasks: Sequence[Task]) -> int:
    """Tokens of the longest request of tasks that state it, or are asked in a thinking mode; 0 where none does."""
    from whichbits.accuracy.kinds.registry import task_kind

    stated = [task_kind(task.kind).request_length(task) or 0 for task in tasks]
    thought = [PROMPT_TOKENS + task.max_tokens for task in tasks if task.mode is not None and task.max_tokens is not None]
    return max([0, *stated, *thought])


def _data_hash(task: Task, data_dir: Path | None) -> str | None:
    """Hash of the files that a task reads on this machine, where it reads any."""
    from whichbits.accuracy.kinds.registry import task_kind

    files = task_kind(task.kind).data_files(task, data_dir)
    if files is None:
        return None
    from whichbits.core.home import cache_directory
    from whichbits.models.cache import file_sha256

    return digest({name: file_sha256(file, cache_directory()) for name, file in files.items()})


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds, at most, of a task whose items are known before anything is loaded."""
    from whichbits.accuracy.kinds.registry import task_kind

    task, inputs = task_of(step), step.inputs_as(EvaluateInputs)
    lengths = task_kind(task.kind).prompt_lengths(task, limit=_limit(step), seed=inputs.seed)
    return None if lengths is None else batch_seconds(lengths, task.max_tokens or 1, inputs.engine, ask)


def _limit(step: Step) -> int | None:
    """How many items are wanted; None for all."""
    return None if step.items == "all" else step.items


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Score a checkpoint on a task, item by item."""
    for job in jobs:
        found = scored(job, context, job.step.items)
        write_items(job.directory, found.result.rows())
        yield job, Result(summary_of(job.step, found.result, found.weights), found.provenance, found.waited_s)


def judging_work(step: Step) -> JudgingWork | None:
    """What an evaluation asks of a judge; None where its answers are not judged."""
    from whichbits.accuracy.kind import JudgedKind
    from whichbits.accuracy.kinds.registry import task_kind

    task, data_dir = task_of(step), step.local_as(EvaluateLocal).data_dir
    kind = task_kind(task.kind)
    return kind.judging_work(task, limit=_limit(step), data_dir=data_dir) if isinstance(kind, JudgedKind) else None


EVALUATE = Kind(
    "evaluate",
    version=3,
    plan=plan,
    run=run,
    seconds=seconds,
    judging=judging_work,
    preload=PRELOAD,
)
