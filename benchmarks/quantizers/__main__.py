"""Quantizers beside each other: the same base, the same calibration tokens, one judge.

    python benchmarks/quantizers run WORK --text FILE|--own [--model M] [--only RUN...] [--python TOOL=INTERPRETER...]
    python benchmarks/quantizers judge WORK --text FILE [--name held-out] [--part held-out] [--only RUN...]
    python benchmarks/quantizers table WORK... [--out docs/quantizer-benchmarks.md]
    python benchmarks/quantizers list

`run` makes the checkpoints under WORK, `judge` compares them with the base on windows that calibration has not seen, `table`
writes the figures down. What is done is kept: a command does only what is missing, so it can be interrupted, and run by rows.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from runs import RUNS, Run
from work import Work


def main() -> None:
    """Parse and do one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("run", "judge"):
        options = steps.add_parser(step)
        options.add_argument("work", type=Path)
        options.add_argument("--text", type=Path, required=step == "judge", help="UTF-8 text, or JSON lines")
        options.add_argument("--model", default="smollm2-135m-instruct", help="folder, or an embedded model's name")
        options.add_argument("--only", nargs="+", default=[], help="names of runs")
        options.add_argument("--length", type=int, default=512, help="tokens of a window")
    run = steps.choices["run"]
    run.add_argument("--samples", type=int, default=32, help="calibration windows")
    run.add_argument("--own", action="store_true", help="calibrate on text that the model writes itself")
    run.add_argument("--random", action="store_true", help="calibrate on random tokens, for figures of cost alone")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--python", nargs="+", default=[], metavar="TOOL=INTERPRETER", help="of each other tool's environment")
    judge = steps.choices["judge"]
    judge.add_argument("--name", default="held-out", help="what this judge is called")
    judge.add_argument("--part", default="held-out", choices=("held-out", "middle", "all"), help="of the text")
    judge.add_argument("--windows", type=int, default=32, help="at most, at equal distances")
    table = steps.add_parser("table")
    table.add_argument("work", type=Path, nargs="+", help="folders, each with its own model and calibration")
    table.add_argument("--out", type=Path)
    steps.add_parser("list")
    given = parser.parse_args()
    {"run": _run, "judge": _judge, "table": _table, "list": _list}[given.step](given)


def _run(given: argparse.Namespace) -> None:
    from make import make
    from tokens import draw, own, random, windows, write

    work, model = Work(given.work), _model(given.model)
    pythons = {tool: Path(python) for tool, python in (each.split("=", 1) for each in given.python)}
    if not work.tokens.exists():
        size = f"{given.samples} × {given.length} tokens"
        if given.random:
            tokens, words = random(model, given.samples, given.length), f"{size} drawn uniformly"
        elif given.own:
            tokens, words = own(model, given.samples, given.length), f"{size} that the model wrote itself"
        elif given.text:
            tokens = draw(windows(model, given.text, given.length), given.samples, seed=0)
            words = f"{size} of the first two thirds of `{given.text.name}`"
        else:
            raise SystemExit("calibration takes --text FILE, --own, or --random")
        work.folder.mkdir(parents=True, exist_ok=True)
        work.put_calibration(words)
        write(tokens, work.tokens)
    failed = []
    for run in _chosen(given.only):
        if run.tool != "whichbits" and run.tool not in pythons:
            print(f"{run.name}: left out, no --python {run.tool}=INTERPRETER")
        elif work.measurement(run) is None:
            try:
                make(work, run, model, pythons, given.threads)
                print(f"{run.name}: {work.measurement(run)}", flush=True)
            except subprocess.CalledProcessError as error:
                failed.append(run.name)
                print(f"{run.name}: failed with {error.returncode}, see {work.of(run) / 'log.txt'}", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _judge(given: argparse.Namespace) -> None:
    import torch
    from judge import judge, keep_base
    from tokens import part, spread, windows, written

    torch.set_num_threads(1)
    work, model = Work(given.work), _model(given.model)
    seen = written(work.tokens)
    chosen = spread(part(windows(model, given.text, given.length), given.part, seen), given.windows)
    logits = work.folder / f"base-{given.name}"
    keep_base(model, chosen, logits)
    about = {"text": given.text.name, "part": given.part, "windows": len(chosen), "length": given.length}
    for run in (run for run in _chosen(given.only) if work.measurement(run)):
        for format in (format for format in run.formats if work.judgement(run, format, given.name) is None):
            figures = judge(work.checkpoint(run, format), chosen, logits)
            work.put_judgement(run, format, given.name, about | figures)
            print(f"{run.name} {format} {given.name}: KL {sum(figures['kl']) / len(chosen):.5f}", flush=True)


def _table(given: argparse.Namespace) -> None:
    from table import table

    text = table([Work(folder) for folder in given.work])
    if given.out:
        given.out.write_text(text)
    else:
        print(text)


def _list(given: argparse.Namespace) -> None:
    for run in RUNS:
        print(f"{run.name:50} {','.join(run.formats):20} {run.what}")


def _chosen(names: list[str]) -> list[Run]:
    unknown = set(names) - {run.name for run in RUNS}
    if unknown:
        raise SystemExit(f"unknown runs: {', '.join(sorted(unknown))}; see: python benchmarks/quantizers list")
    return [run for run in RUNS if not names or run.name in names]


def _model(reference: str) -> Path:
    from whichbits.models.resolve import resolve

    return resolve(reference).path


if __name__ == "__main__":
    main()
