"""Items a second of whichbits and of lm-evaluation-harness's `local-completions`, on one server and the same items.

    python benchmarks/evaluation_speed.py CHECKPOINT --data-dir DIR --tasks lm_eval:mmlu_stem gsm8k --limit 16

vLLM serves the checkpoint as a study does. Both sides have the same task objects, prompts and number of requests under way;
`local-completions` runs with its default of one at a time too, where `--one` says so. Each side runs `--rounds` times, turn by
turn, from an empty prefix cache (`--prefix-caching`), after both have been warmed on other items. Printed are for each task
items a second of both (median of the rounds), their ratio, and how many items are scored otherwise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kind import HarnessKind
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task as shipped
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.configuration import read_configuration

Scores = list[float]


@dataclass(frozen=True)
class Side:
    """Who evaluates: scores of a task's first items, in the harness's order."""

    name: str
    scores: Callable[[Task], Scores]


def named(name: str, shots: int) -> Task:
    """A shipped task, or `lm_eval:NAME` with so many worked examples."""
    prefix, _, source = name.partition(":")
    request = TaskRequest(source, source, num_fewshot=shots)
    return task_kind("lm-eval").define(request) if prefix == "lm_eval" else shipped(name)


def ours(endpoint: Endpoint, checkpoint: Path, limit: int, data_dir: Path | None) -> Side:
    """whichbits, through the served model."""

    def scores(task: Task) -> Scores:
        return [item.score for item in evaluate(task, endpoint, checkpoint, limit=limit, data_dir=data_dir).items]

    return Side("whichbits", scores)


def theirs(server: Server, checkpoint: Path, limit: int, data_dir: Path | None, concurrency: int, max_length: int) -> Side:
    """lm-evaluation-harness's evaluator with its own client."""
    from lm_eval.evaluator import evaluate as run
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    def scores(task: Task) -> Scores:
        kind = task_kind(task.kind)
        assert isinstance(kind, HarnessKind), f"{task.name} is run by the harness"
        client = LocalCompletionsAPI(
            base_url=f"{server.url}/v1/completions",
            model=server.model,
            tokenizer=str(checkpoint),
            num_concurrent=concurrency,
            max_length=max_length,
            batch_size=1,
        )
        made = kind.harness_tasks(task, seed=0, data_dir=data_dir)
        for one in made.values():
            one.set_fewshot_seed(seed=0)
        templated: dict[str, Any] = {"apply_chat_template": task.chat_template, "fewshot_as_multiturn": task.chat_template}
        found = run(lm=client, task_dict={"tasks": made}, limit=limit, bootstrap_iters=0, **templated)["samples"]
        rows = [row for of_task in found.values() for row in of_task if row["filter"] == (task.filter or of_task[0]["filter"])]
        return [float(row[task.metric]) for row in rows]

    return Side(f"local-completions x{concurrency}", scores)


def forget(server: Server) -> None:
    """Empty the server's prefix cache."""
    httpx.post(f"{server.url}/reset_prefix_cache", trust_env=False).raise_for_status()


def measure(sides: list[Side], task: Task, server: Server, rounds: int) -> None:
    """Print a line for each side."""
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    scores: dict[str, Scores] = {}
    for _ in range(rounds):
        for side in sides:
            forget(server)
            began = time.perf_counter()
            scores[side.name] = side.scores(task)
            seconds[side.name].append(time.perf_counter() - began)
    first = sides[0].name
    for side in sides:
        took, found = median(seconds[side.name]), scores[side.name]
        other = sum(one != another for one, another in zip(scores[first], found, strict=True))
        print(
            f"{task.name:24} {side.name:22} {len(found):5} items {len(found) / took:7.2f} items/s  "
            f"{took / median(seconds[first]):5.2f} times the seconds of {first}  mean {sum(found) / len(found):.3f}  "
            f"{other} scored otherwise",
            flush=True,
        )


@contextmanager
def serving(checkpoint: Path, max_length: int, concurrency: int, prefix_caching: bool) -> Iterator[Server]:
    """The checkpoint served as a study does, with a prefix cache that can be emptied."""
    settings = serving_settings(
        describe(), read_configuration(checkpoint).kv_bytes_per_token, max_length=max_length, max_concurrency=concurrency
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(
            find_vllm(),
            checkpoint,
            arguments={**settings.arguments, "enable-prefix-caching": prefix_caching},
            environment={**settings.environment, "VLLM_SERVER_DEV_MODE": "1"},
            cpus=processors(settings.server_cpus) or None,
            log=Path(folder) / "log.txt",
        ) as server,
    ):
        yield server


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix-caching", action="store_true")
    parser.add_argument("--one", action="store_true")
    options = parser.parse_args()
    print(describe())
    with serving(options.checkpoint, options.max_length, options.concurrency, options.prefix_caching) as server:
        more = (options.checkpoint, options.limit, options.data_dir)
        with Endpoint(server.url, server.model, max_length=options.max_length, concurrency=options.concurrency) as endpoint:
            counts = [options.concurrency, 1] if options.one else [options.concurrency]
            sides = [ours(endpoint, *more), *(theirs(server, *more, count, options.max_length) for count in counts)]
            for name in options.tasks:
                measure(sides, named(name, options.shots), server, options.rounds)


if __name__ == "__main__":
    main()
