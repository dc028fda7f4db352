"""The command `quantize`: checkpoints made, or only estimated, and what is printed of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import whichbits
from whichbits.cli.options import AsJson
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.api.quantize import QuantizationEstimate, QuantizedCheckpoint

Row = dict[str, Any]


def quantize(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    format: Annotated[list[str], typer.Option("--format", help="Format to make; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder under which each format gets a folder of its own.")],
    group_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale; default: 128, or the largest of 64 and 32 that divides.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE-OR-DATASET",
            help="Text, JSONL of conversations, data set, random, or self (the default): text that the model writes.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Number of calibration windows; default: the recipe's.")] = None,
    seq_length: Annotated[int | None, typer.Option(help="Length of each, tokens; default: the recipe's.")] = None,
    effort: Annotated[str | None, typer.Option(help="fast, balanced (the default without a recipe) or best.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="FILE-OR-NAME",
            help="YAML file with fields of a recipe, or its name, as nearest or paper-w8a8-int (docs/quantize.md).",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; default: the recipe's, or 0.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Average bits a weight (4.5bits) or summed error (0.01error): one checkpoint, the best format for each layer."
        ),
    ] = None,
    export: Annotated[str | None, typer.Option(help="ascend: write each for vLLM on Ascend too.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda (the default where there is one), or several: cuda:0,cuda:1.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print about how long it takes, memory and disk.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make checkpoints that vLLM and transformers load."""
    from whichbits.cli.tables import console, print_results, print_rows

    if dry_run:
        if budget is not None:
            raise UserError("budget has no estimate: which format a layer gets is measured first", remedy="leave budget out")
        estimates = whichbits.estimate_quantization(
            model, format, out, group_size=group_size, calibration=calibration, samples=samples, seq_length=seq_length,
            effort=effort, recipe=recipe, seed=seed, export=export, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        print_results(estimates if as_json else [_estimate(entry) for entry in estimates], as_json)
        return
    checkpoints = whichbits.quantize(
        model, format, out, group_size=group_size, calibration=calibration, samples=samples, seq_length=seq_length,
        effort=effort, recipe=recipe, seed=seed, budget=budget, export=export, device=device,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    if not checkpoints:  # the first of several processes says it
        return
    if as_json:
        print_results([_row(made) | {"modules": made.modules} for made in checkpoints], as_json)
        return
    from whichbits.api.quantize import errors_by_kind

    for made in checkpoints:
        title = "relative error of the weights; the rounding's error of the outputs next to that of rounding to nearest"
        console().print(f"{made.format}: {title}", markup=False)
        print_results(errors_by_kind(made.modules), as_json)
        for warning in made.warnings:
            console().print(f"warning: {warning}", style="yellow", markup=False)
        for module, ratio in (made.gptq_vs_rtn.worse if made.gptq_vs_rtn else {}).items():
            line = f"the rounding made {ratio:.3f} times the error of rounding to nearest: {module}"
            console().print(line, style="yellow", markup=False, soft_wrap=True)
        console().print()
    shown = ("format", "folder", "megabytes", "bits_per_weight", "mean_error", "gptq_vs_rtn", "exported")
    print_rows([{name: row[name] for name in shown if row[name] is not None} for row in map(_row, checkpoints)])


def _row(made: QuantizedCheckpoint) -> Row:
    nearest = made.gptq_vs_rtn
    return {
        "format": made.format,
        "folder": str(made.folder),
        "megabytes": made.bytes / 1e6,
        "bits_per_weight": made.bits_per_weight,
        "mean_error": made.mean_error,
        "gptq_vs_rtn": nearest.ratio if nearest else None,
        "warnings": made.warnings,
        "worse_than_nearest": nearest.worse if nearest else {},
        "exported": str(made.exported) if made.exported else None,
    }


def _estimate(estimate: QuantizationEstimate) -> Row:
    return {
        "format": estimate.format,
        "time": _about(estimate.seconds),
        "memory": f"about {_gigabytes(estimate.memory_bytes)}",
        "disk": f"about {_gigabytes(estimate.disk_bytes)}",
        "disk_while_made": f"about {_gigabytes(estimate.disk_bytes + estimate.scratch_bytes)}",
        "disk_free": _gigabytes(estimate.free_bytes),
    }


def _about(seconds: float) -> str:
    """As exact as an estimate is: whole seconds, minutes, or hours with a digit behind the point below ten."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    hours = seconds / 3600
    return f"about {round(seconds / 60)} min" if seconds < 6000 else f"about {hours:.{1 if hours < 10 else 0}f} h"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size < 1e11 else f"{size / 1e9:.0f} GB"
