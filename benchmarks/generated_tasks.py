"""Score of a model on each generated task, and how many items another checkpoint of it changes.

python benchmarks/generated_tasks.py                                  # the embedded model
python benchmarks/generated_tasks.py --checkpoint studies/…/checkpoint   # and its flips against a candidate
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.floor_ceiling import uninformative
from whichbits.accuracy.registry import expand
from whichbits.engines.emulation.model import Emulated
from whichbits.models.resolve import resolve


def main() -> None:
    """Print one line a task and checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the base: a name, path or hub id")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], help="a candidate to compare with it")
    parser.add_argument("--limit", type=int, help="first items of each task only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)

    base = resolve(arguments.model).path
    scores: dict[tuple[str, str], float] = {}
    print(f"{'task':8} {'n':>4} {'score':>6} {'stderr':>6} {'chance':>6} {'prompt':>7} {'output':>7} {'s':>5} {'flips':>6}")
    for folder in (base, *arguments.checkpoint):
        model = Emulated(folder, threads=arguments.threads)
        for task in expand(["generated"]):
            begun = time.perf_counter()
            result = evaluate(task, model, base, limit=arguments.limit, seed=arguments.seed)
            seconds = time.perf_counter() - begun
            if folder == base:
                scores |= {(task.name, item.item): item.score for item in result.items}
            flips = sum(scores[task.name, item.item] != item.score for item in result.items)
            found = result.summary
            print(
                f"{task.name:8} {found['n']:4} {found['score']:6.3f} {found['stderr']:6.3f} {found['chance']:6.2f} "
                f"{found['prompt_tokens']:7.1f} {found['generated_tokens']:7.2f} {seconds:5.0f} {flips:6}  {folder.name}",
                (uninformative(found["score"], found["chance"]) or "") if folder == base else "",
                flush=True,
            )


if __name__ == "__main__":
    main()
