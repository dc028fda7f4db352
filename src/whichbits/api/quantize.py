"""The verb `quantize`: what the user names looked up, progress and estimates over the room of that name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.models.resolve import Model
    from whichbits.quantization.estimate import Widths
    from whichbits.quantization.output.manifest import Manifest, ModuleError
    from whichbits.quantization.passes.calibrated import Target

Rows = list[dict[str, Any]]
Progress = Callable[[int, int], None]
Made = tuple["Manifest", tuple["ModuleError", ...]]

EXPERT = re.compile(r"\.experts\.\d+\.")


def quantize(
    model: str,
    format: Sequence[str],
    out: Path,
    *,
    group_size: int | None = None,
    calibration: str | None = None,
    samples: int | None = None,
    seq_length: int | None = None,
    effort: str | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    seed: int | None = None,
    budget: str | None = None,
    export: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    dry_run: bool = False,
    console: Console | None = None,
) -> Rows:
    """Make a checkpoint of each format under `out`, a folder each; one row for each, with the error of each module.

    `recipe` is a YAML file, the name of a recipe that whichbits ships, or fields; the other arguments go before its fields.
    `calibration` is self, random, a file of text, a JSONL file of conversations, or a data set (a folder or hub id, with
    ,split=... ,config=... ,fields=A+B ,revision=... behind it); `samples` and `seq_length` are the number of its windows and
    their length in tokens. `effort` is fast, balanced (the default where there is no recipe) or best. Calibrated recipes make
    all formats in one pass. With a `budget`, 4.5bits for each weight or 0.01error, one checkpoint is made, mixed-BUDGET, with
    the best of the formats for each layer. `export` is ascend, for a folder FORMAT-ascend beside each for vLLM on Ascend.
    `device` is cpu, cuda (the default where there is one), or several GPUs (cuda:0,cuda:1), which take the samples in turn.
    With `dry_run` nothing is made, and the rows say about how long it takes, with how much memory and disk. A model's own
    Python code runs only with `trust_remote_code`. Progress is shown on `console` (default: standard error). Raises UserError.
    """
    from whichbits.formats.catalogue import get
    from whichbits.models.resolve import resolve
    from whichbits.quantization.model.devices import computing_devices
    from whichbits.quantization.passes.calibrated import Target
    from whichbits.quantization.recipe.options import budget_of, fields_of, fitting, recipe_of

    if not format:
        raise UserError("no format is named", remedy="add --format; whichbits formats lists them")
    fields = fields_of(recipe, {"group_size": group_size, "seed": seed}, calibration, samples, seq_length)
    targets = []
    for chosen in [get(name) for name in format]:
        if chosen.is_base and (budget is None or chosen.kv_cache):
            remedy = "start vLLM with --kv-cache-dtype fp8" if chosen.kv_cache else "choose another format"
            raise UserError(f"format {chosen.name} cannot be made: its weights are the base's own", remedy=remedy)
        own = recipe_of(fitting(fields, chosen), chosen, effort, own_recipe=recipe is not None)
        targets.append(Target(chosen, own, Path(out) / chosen.name))
    limits = budget_of(budget) if budget is not None else {}
    if not limits and (calibration, samples, seq_length) != (None, None, None) and not any(map(_calibrated, targets)):
        raise UserError(
            "calibration does nothing for formats that are rounded to nearest without data",
            remedy="leave it out, or choose a calibrated recipe with --recipe or --effort",
        )
    if export is not None:
        _check_export(export, targets, budget)
    if dry_run:
        if limits:
            raise UserError("budget has no estimate: which format a layer gets is measured first", remedy="leave budget out")
        return _estimates(model, targets, trust_remote_code)
    _check_folders([Path(out) / f"mixed-{budget}"] if limits else [target.out for target in targets], export)
    computing_devices(device)  # refused before there is anything to lose
    base = resolve(model, allow_custom_code=trust_remote_code)
    with _progress(console) as start:
        if limits:
            targets = [_within_budget(base, targets, limits, Path(out) / f"mixed-{budget}", start, device, trust_remote_code)]
        made = _make(base, targets, start, device, trust_remote_code)
    rows = [_row(target, manifest, errors) for target, (manifest, errors) in zip(targets, made, strict=True)]
    for target, row in zip(targets, rows, strict=True):
        if export is not None:
            from whichbits.formats.export.ascend import export_ascend

            place = _exported(target.out, export)
            export_ascend(target.out, target.format.name, place)
            row["exported"] = str(place)
    return rows


def _within_budget(
    base: Model,
    targets: Sequence[Target],
    limits: Mapping[str, float],
    out: Path,
    start: Callable[[str], Progress],
    device: str | None,
    custom_code: bool,
) -> Target:
    """One checkpoint with the formats of the targets, each layer's chosen under the budget."""
    from whichbits.quantization.mixed_precision.search import choose_formats
    from whichbits.quantization.passes.calibrated import Target

    found = choose_formats(
        base.path,
        [target.format.name for target in targets],
        targets[0].recipe,
        **limits,
        device=device,
        allow_custom_code=custom_code,
        on_progress=start("sensitivity"),
    )
    own = next(target for target in targets if target.format.name == found.format)
    return Target(own.format, own.recipe.model_copy(update={"layers": found.layers}), out)


def _check_export(export: str, targets: Sequence[Target], budget: str | None) -> None:
    """Before anything is made: raises UserError for a layout that is not known, or formats that have none."""
    from whichbits.formats.export.ascend import check_exportable

    if export != "ascend":
        raise UserError(f"export {export!r} is not known", remedy="choose ascend")
    if budget is not None:
        raise UserError("a checkpoint with several formats cannot be exported", remedy="leave export or budget out")
    for target in targets:
        check_exportable(target.format.name)


def _check_folders(folders: Sequence[Path], export: str | None) -> None:
    """Before anything is made: raises UserError where a folder is there already, but for a pass that goes on."""
    from whichbits.quantization.output.folder import refuse_existing
    from whichbits.quantization.passes.resume import unfinished

    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"format {folder.name} is named twice", remedy="name it once")
        if not unfinished(folder).exists():
            refuse_existing(folder)
        if export is not None:
            refuse_existing(_exported(folder, export))


def _exported(folder: Path, export: str) -> Path:
    return folder.with_name(f"{folder.name}-{export}")


def _calibrated(target: Target) -> bool:
    return target.recipe.calibrated or target.format.needs_data


def _make(
    base: Model, targets: Sequence[Target], start: Callable[[str], Progress], device: str | None, custom_code: bool
) -> list[Made]:
    """Make the checkpoints, those that need data in one pass, the others one after another; each with its model card."""
    from whichbits.quantization.output.card import FILE, card
    from whichbits.quantization.output.folder import told_when_full
    from whichbits.quantization.passes.calibrated import quantize_calibrated
    from whichbits.quantization.passes.direct import quantize_checkpoint

    made: dict[Path, Made] = {}
    together = [target for target in targets if _calibrated(target)]
    if together:
        with told_when_full(together[0].out.parent):
            results = quantize_calibrated(
                base.path,
                together,
                base_files=base.files,
                on_token=start("calibration text"),
                on_progress=start("modules"),
                device=device,
                allow_custom_code=custom_code,
            )
        made |= {target.out: result for target, result in zip(together, results, strict=True)}
    for target in targets:
        if target.out not in made:
            made[target.out] = quantize_checkpoint(
                base.path,
                target.format,
                target.recipe,
                target.out,
                base_files=base.files,
                on_progress=start(target.format.name),
                device=device,
            )
    for target in targets:
        (target.out / FILE).write_text(card(made[target.out][0], base.reference), encoding="utf-8")
    return [made[target.out] for target in targets]


@contextmanager
def _progress(console: Console | None) -> Iterator[Callable[[str], Progress]]:
    """Bars with the time left on the console: what is yielded begins one and returns what moves it."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, console=console or RichConsole(stderr=True), transient=True) as bars:

        def start(what: str) -> Progress:
            bar = bars.add_task(what, total=None, visible=False, start=False)

            def show(done: int, total: int) -> None:
                if not bars.tasks[bar].started:
                    bars.start_task(bar)
                bars.update(bar, completed=done, total=total, visible=True)

            return show

        with _without_other_bars():
            yield start


@contextmanager
def _without_other_bars() -> Iterator[None]:
    """Ours alone: transformers shows a bar of its own whenever it loads a model."""
    import transformers

    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _row(target: Target, manifest: Manifest, errors: Sequence[ModuleError]) -> dict[str, Any]:
    """What is said of one checkpoint."""
    return {
        "format": target.out.name,
        "folder": str(target.out),
        "megabytes": round(manifest.bytes / 1e6, 1),
        "bits_per_weight": round(manifest.bits_per_weight, 3),
        "mean_error": round(sum(error.error for error in errors) / len(errors), 5),
        "beside_nearest": round(manifest.beside_nearest.ratio, 4) if manifest.beside_nearest else None,
        "warnings": [*(manifest.calibration.warnings if manifest.calibration else ()), *manifest.loading],
        "worse_than_nearest": manifest.beside_nearest.worse if manifest.beside_nearest else {},
        "modules": [error.model_dump() for error in errors],
    }


def error_table(modules: Sequence[Mapping[str, Any]]) -> Rows:
    """The errors of a checkpoint's modules, a row for each kind of module; all experts are one.

    Mean and largest relative error of the weights, the layer of the largest, and GPTQ's error of the outputs over that of
    rounding to nearest on the same grid, in sum (None where GPTQ was not used).
    """
    kinds: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for entry in modules:
        head, _, rest = str(entry["module"]).partition(".layers.")
        number, _, kind = rest.partition(".")
        kind = EXPERT.sub(".experts.*.", kind)
        kinds.setdefault(kind or head, []).append((number, entry))
    return [_of_kind(kind, found) for kind, found in kinds.items()]


def _of_kind(kind: str, found: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    errors = [float(entry["error"]) for _, entry in found]
    nearest = sum(entry["nearest_output_error"] or 0.0 for _, entry in found)
    ours = sum(entry["output_error"] or 0.0 for _, entry in found)
    return {
        "module": kind,
        "modules": len(found),
        "mean_error": round(sum(errors) / len(errors), 5),
        "largest_error": round(max(errors), 5),
        "in_layer": found[errors.index(max(errors))][0],
        "beside_nearest": round(ours / nearest, 4) if nearest else None,
    }


def _estimates(model: str, targets: Sequence[Target], trust_remote_code: bool) -> Rows:
    """About what each checkpoint costs when it is made alone."""
    import shutil

    from whichbits.quantization.estimate import cost, measure_rounding, measure_speed

    widths, speed = _widths(model, trust_remote_code), measure_speed()
    rows: Rows = []
    for target in targets:
        found = cost(widths, target.format, target.recipe, speed, measure_rounding(target.format, target.recipe))
        place = next(folder for folder in (target.out.absolute(), *target.out.absolute().parents) if folder.is_dir())
        rows.append(
            {
                "format": target.format.name,
                "time": _about(found.seconds),
                "memory": f"about {_gigabytes(found.memory)}",
                "disk": f"about {_gigabytes(found.disk)}",
                "disk_while_made": f"about {_gigabytes(found.disk + found.scratch)}",
                "disk_free": _gigabytes(shutil.disk_usage(place).free),
            }
        )
    return rows


def _widths(model: str, trust_remote_code: bool) -> Widths:
    """The model's shape: from the catalogue for a hub id that it has, else from the model itself, which is looked at."""
    from whichbits.models.catalogue import catalogue
    from whichbits.models.resolve import resolve
    from whichbits.quantization.estimate import Widths, widths_of
    from whichbits.quantization.model.structure import layer_linears

    shape = catalogue().get(model)
    if shape is None or Path(model).exists():
        base = resolve(model, allow_custom_code=trust_remote_code, weights=False)
        return widths_of(base.configuration, base.shapes, layer_linears(base.configuration, base.shapes))
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    head = shape.hidden * shape.vocab
    inward = (shape.ffn, shape.ffn) if shape.gated else (shape.ffn,)
    feed_forward = ((shape.hidden, inward), (shape.ffn, (shape.hidden,)))
    return Widths(
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_width=shape.kv_width,
        outside=head if shape.tied else 2 * head,
        head=head,
        inputs=((shape.hidden, (queries, keys, keys)), (queries, (shape.hidden,)), *feed_forward * max(1, shape.experts)),
    )


def _about(seconds: float) -> str:
    """As exact as an estimate is: whole seconds, minutes, or hours with a digit behind the point below ten."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    hours = seconds / 3600
    return f"about {round(seconds / 60)} min" if seconds < 6000 else f"about {hours:.{1 if hours < 10 else 0}f} h"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size < 1e11 else f"{size / 1e9:.0f} GB"
