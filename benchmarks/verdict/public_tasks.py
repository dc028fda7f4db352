"""Public tasks and the specification of the study that `until_decided.py replay` takes in docs/explanation/early-stopping.md.

    python benchmarks/verdict/public_tasks.py --data DATA --out FOLDER
    whichbits study FOLDER/study.yaml --store FOLDER/store
    python benchmarks/verdict/until_decided.py replay --store FOLDER/store --runs 200

Files below DATA, each of the repository on GitHub that is named:

    hellaswag_val/hellaswag_val_full.txt.bz2                    klosax/hellaswag_text_data
    arc/ARC-Challenge__test.json                                AGI-Edgerunners/LLM-Adapters (dataset/ARC-Challenge/test.json)
    truthfulqa/mc_task.json                                     sylinrl/TruthfulQA (data)
    calib_synthetic_conversations/synthetic_conversations_1k.jsonl   calibration: conversations, one a line
"""

from __future__ import annotations

import argparse
import bz2
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import TypedDict

SPECIFICATION = """\
version: 1
name: public-tasks
model: smollm2-135m-instruct
candidates:
  - {{format: w4a16-int, name: w4a16-int-nearest, run: emulated, recipe: {{scales: minmax}}}}
  - format: w4a16-int
    run: emulated
    recipe: {out}/gptq.yaml
  - {{format: w8a8-int, name: w8a8-int-nearest, run: emulated, recipe: {{scales: minmax}}}}
  - {{format: w8a8-int, run: emulated, recipe: {{like: {out}/gptq.yaml, balancing: 1}}}}
tasks:
  - {{name: hellaswag, limit: 300, jsonl: {out}/hellaswag.jsonl}}
  - {{name: arc_challenge, limit: 400, jsonl: {out}/arc_challenge.jsonl}}
  - {{name: truthfulqa, limit: 300, jsonl: {out}/truthfulqa.jsonl}}
base_repeats: 1
margin: 0.03
"""

RECIPE = """\
rounding: gptq
scales: activation
shrinkage: 0.3
fisher_samples: 1
calibration: {{source: text, file: {calibration}, samples: 128, length: 512}}
"""

HELLASWAG_ITEMS = 1000


class Problem(TypedDict):
    """A line of a task's file; `answer` is the place of the right choice."""

    question: str
    choices: list[str]
    answer: int


def hellaswag(data: Path, draw: Random) -> list[Problem]:
    """Six lines an item: context, place of the right ending, four endings."""
    lines = bz2.decompress((data / "hellaswag_val" / "hellaswag_val_full.txt.bz2").read_bytes()).decode().split("\n")
    found: list[Problem] = []
    for begin in range(0, len(lines) - 5, 6):
        context, right, *endings = lines[begin : begin + 6]
        found.append({"question": context, "choices": endings, "answer": int(right)})
    draw.shuffle(found)
    return found[:HELLASWAG_ITEMS]


def arc_challenge(data: Path) -> Iterator[Problem]:
    """The choices are in the text of the instruction."""
    form = re.compile(r"Please choose the correct answer to the question: (.*?)\n\n(Answer1: .*)\n\nAnswer format", re.S)
    for row in json.loads((data / "arc" / "ARC-Challenge__test.json").read_text(encoding="utf-8")):
        stated, right = form.match(row["instruction"]), re.search(r"\d", row["answer"])
        if stated is not None and right is not None:
            choices = [choice.strip() for choice in re.split(r"Answer\d: ", stated[2])[1:]]
            place = int(right[0]) - 1
            if 0 <= place < len(choices):
                yield {"question": f"Question: {stated[1].strip()}\nAnswer:", "choices": choices, "answer": place}


def truthfulqa(data: Path, draw: Random) -> Iterator[Problem]:
    """With one right answer each (mc1), which is not always the first here."""
    for row in json.loads((data / "truthfulqa" / "mc_task.json").read_text(encoding="utf-8")):
        targets = [(text, right) for text, right in row["mc1_targets"].items() if text]
        draw.shuffle(targets)
        choices, rights = zip(*targets, strict=True)
        yield {"question": f"Q: {row['question']}\nA:", "choices": list(choices), "answer": rights.index(1)}


def write(path: Path, problems: Iterable[Problem]) -> None:
    """A problem a line."""
    path.write_text("\n".join(map(json.dumps, problems)), encoding="utf-8")


def main() -> None:
    """Write the tasks and the specification."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    data, out = given.data.resolve(), given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    draw = Random(0)
    write(out / "hellaswag.jsonl", hellaswag(data, draw))
    write(out / "arc_challenge.jsonl", arc_challenge(data))
    write(out / "truthfulqa.jsonl", truthfulqa(data, draw))
    calibration = data / "calib_synthetic_conversations" / "synthetic_conversations_1k.jsonl"
    (out / "gptq.yaml").write_text(RECIPE.format(calibration=calibration), encoding="utf-8")
    (out / "study.yaml").write_text(SPECIFICATION.format(out=out), encoding="utf-8")
    print(f"whichbits study {out / 'study.yaml'} --store {out / 'store'}")


if __name__ == "__main__":
    main()
