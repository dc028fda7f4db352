"""The user's own task: a JSONL file, one item a line.

Multiple choice: `{"question": "...", "choices": ["...", "..."], "answer": 0}`, the answer an index or the text of a choice.
Free answer: `{"prompt": "...", "target": "..."}`, scored by exact match, or as a regular expression found in the answer.
`question` and `prompt` mean the same; `cluster` (text) joins items that depend on each other; other fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from whichbits.accuracy.documents import harness_task, prompt_lengths
from whichbits.accuracy.harness import HarnessTask
from whichbits.accuracy.kind import HarnessKind
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.core import regex
from whichbits.core.errors import UserError
from whichbits.core.text import json_lines, read_bytes

Document = dict[str, Any]
CHOICE_METRICS = ("acc", "acc_norm")
ANSWER_METRICS = ("exact_match", "regex")


def own_task(
    name: str,
    path: Path,
    *,
    metric: str | None = None,
    max_tokens: int = 64,
    stop: tuple[str, ...] = ("\n",),
    chat_template: bool = False,
) -> Task:
    """A task over the user's file; without `metric` the first line decides: choices by `acc`, targets by `exact_match`.

    The answer ends at the first of `stop`, or after `max_tokens`. Raises UserError for a file or line that cannot be used.
    """
    known = (*CHOICE_METRICS, *ANSWER_METRICS)
    if metric is not None and metric not in known:
        raise UserError(f"metric: {metric!r} is no metric of a task of your own", remedy=f"choose from {', '.join(known)}")
    task = Task(
        name=name,
        version=1,
        kind="jsonl",
        source=str(path),
        description=f"The user's own: {path.name}",
        metric=metric or "acc",
        max_tokens=max_tokens,
        stop=stop,
        chat_template=chat_template,
    )
    if metric is None and "choices" not in _documents(task)[0]:
        task = task.model_copy(update={"metric": "exact_match"})
    read_documents(task)
    return task


def read_documents(task: Task) -> list[Document]:
    """Items of the task's file, as documents of one form; a line that cannot be used raises UserError with its place."""
    documents = _documents(task)
    path = Path(task.source)
    forms = {"choices" in document for document in documents}
    if len(forms) > 1:
        raise UserError(
            f"source: {path} mixes items with choices and items with a target", remedy="make two tasks of them, a file each"
        )
    _check_task(task, path, with_choices=forms.pop())
    return documents


def _documents(task: Task) -> list[Document]:
    path = Path(task.source)
    content = read_bytes(path, f"source: {path} of task {task.name}")
    documents, lines = [], dict[str, int]()
    for number, row in json_lines(content, str(path)):
        document = _document(task, path, number, row)
        first = lines.setdefault(json.dumps(document), number)
        if first != number and "cluster" not in document:
            raise UserError(
                f"{path} line {number}: the item of line {first} again, which would count as two",
                remedy="leave it out, or give both the same cluster",
            )
        documents.append(document)
    if not documents:
        raise UserError(f"source: {path} of task {task.name} is empty", remedy="write one JSON object a line")
    return documents


def line_of(task: Task, document: Document) -> int:
    """Line of the task's file that an item stands on, from 1."""
    path = Path(task.source)
    rows = json_lines(read_bytes(path, str(path)), str(path))
    return next(number for number, row in rows if _document(task, path, number, row).items() <= document.items())


def _check_task(task: Task, path: Path, *, with_choices: bool) -> None:
    allowed = CHOICE_METRICS if with_choices else ANSWER_METRICS
    if task.metric not in allowed:
        raise UserError(
            f"metric: task {task.name} has metric {task.metric!r}, but the items of {path} have "
            + ("choices" if with_choices else "a target"),
            remedy=f"set metric to {' or '.join(allowed)}",
        )
    if not with_choices and task.max_tokens is None:
        raise UserError(
            f"max_tokens: task {task.name} sets no limit on the answer's length", remedy="set max_tokens, for example 64"
        )


def _document(task: Task, path: Path, number: int, row: Any) -> Document:
    def fail(field: str, problem: str, remedy: str) -> NoReturn:
        raise UserError(f"{path} line {number}, {field}: {problem}", remedy=remedy)

    if not isinstance(row, dict):
        fail("text", f"a {type(row).__name__}, not an object", 'write {"prompt": ..., "target": ...}')
    prompt = row.get("prompt", row.get("question"))
    if not isinstance(prompt, str) or not prompt.strip():
        fail("prompt", f"{prompt!r} is not a text", "give the question as a non-empty text in prompt (or question)")
    document: Document = {"prompt": prompt}
    if "choices" in row:
        choices = row["choices"]
        if not (isinstance(choices, list) and len(choices) > 1 and all(isinstance(one, str) and one for one in choices)):
            fail("choices", f"{choices!r} is not a list of texts", "give two or more non-empty texts")
        answer = row.get("answer")
        if isinstance(answer, str) and choices.count(answer) == 1:
            answer = choices.index(answer)
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
            fail("answer", f"{answer!r} is no choice", f"give an index from 0 to {len(choices) - 1}, or the text of one choice")
        if choices.count(choices[answer]) > 1:
            fail("choices", f"{choices[answer]!r:.200} is there more than once", "leave each choice once in the list")
        document |= {"choices": choices, "answer": answer}
    else:
        target = row.get("target")
        if not isinstance(target, str) or not target.strip():
            fail("target", f"{target!r} is not a text", "give the expected answer in target, or choices and answer")
        if task.metric == "regex":
            try:
                empty = regex.found("search", target, [""])[0]
            except (regex.RegexError, regex.RegexTimeout) as error:
                reason = f"is not a regular expression ({error})"
                fail("target", f"{target!r:.200} {reason}", "correct the pattern, or use metric exact_match")
            if empty:
                advice = "write a pattern that a wrong answer does not have, or use metric exact_match"
                fail("target", f"{target!r:.200} is found in every answer, even an empty one", advice)
        document["target"] = target
    if "cluster" in row:
        if not isinstance(row["cluster"], str):
            fail("cluster", f"{row['cluster']!r} is not a text", "name the cluster by a text, or leave the field out")
        document["cluster"] = row["cluster"]
    return document


class Jsonl(HarnessKind):
    """Tasks over a file of the user's."""

    name = "jsonl"
    metrics = (*CHOICE_METRICS, *ANSWER_METRICS)
    reads_source = True

    def define(self, request: TaskRequest) -> Task:
        """The task over the file that the request names; answers have at most 64 tokens and end at a line's end by default."""
        self.refuse_options(request)
        return own_task(
            request.name,
            Path(request.source),
            metric=request.metric,
            max_tokens=request.max_tokens or 64,
            stop=("\n",) if request.stop is None else request.stop,
            chat_template=bool(request.chat_template),
        )

    def with_items(self, task: Task, count: int, *, seed: int) -> Task:
        """The task as it is. Raises UserError where its file has fewer items."""
        if count > (available := len(read_documents(task))):
            raise UserError(
                f"{count} items are asked for, and {task.source} of task {task.name} has {available}",
                remedy=f"set limit to {available} at most, or leave it out",
            )
        return task

    def harness_tasks(self, task: Task, *, seed: int, data_dir: Path | None) -> dict[str, HarnessTask]:
        """One task object over the file's lines."""

        def place(document: Document) -> str:
            return f"{task.source} line {line_of(task, document)}, target"

        return {task.name: harness_task(task, read_documents(task), place=place)}

    def prompt_lengths(self, task: Task, *, limit: int | None, seed: int) -> Sequence[int] | None:
        """Characters of each request's prompt."""
        return prompt_lengths(read_documents(task)[:limit])
