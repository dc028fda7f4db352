"""`whichbits quantize`: what the user names looked up; progress and estimates over the quantizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.api.progress_bars import Progress, progress_bars
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.models.resolve import Model
    from whichbits.quantization.estimate import Widths
    from whichbits.quantization.model.ranks import Ranks
    from whichbits.quantization.output.manifest import GptqVsRtn, Manifest, ModuleError
    from whichbits.quantization.passes.calibrated import Target

Made = tuple["Manifest", tuple["ModuleError", ...]]

EXPERT = re.compile(r"\.experts\.\d+\.")


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """A checkpoint that was made."""

    format: str
    folder: Path
    bytes: int
    bits_per_weight: float
    gptq_vs_rtn: GptqVsRtn | None
    """The rounding's squared error of the outputs over that of rounding to nearest, in sum, and modules where it is larger."""
    warnings: tuple[str, ...]
    modules: tuple[ModuleError, ...]
    """The error of each module."""
    exported: Path | None = None
    """Folder of the same checkpoint for another engine."""

    @property
    def mean_error(self) -> float:
        """Mean of the modules' relative errors."""
        return sum(module.error for module in self.modules) / len(self.modules)


@dataclass(frozen=True)
class QuantizationEstimate:
    """About what it costs to make a checkpoint alone."""

    format: str
    seconds: float
    memory_bytes: int
    """At the peak, beside the program's own."""
    disk_bytes: int
    """Of the finished checkpoint."""
    scratch_bytes: int
    """Of files that are deleted at the end."""
    free_bytes: int
    """On the disk where it goes."""


@dataclass(frozen=True)
class KindErrors:
    """The errors of one kind of module, such as `mlp.down_proj`; all experts are one."""

    module: str
    modules: int
    mean_error: float
    largest_error: float
    in_layer: str
    """The layer of the largest."""
    gptq_vs_rtn: float | None
    """The rounding's squared error of the outputs over that of rounding to nearest on the same grid, in sum."""


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
    console: Console | None = None,
) -> tuple[QuantizedCheckpoint, ...]:
    """Make a checkpoint of each format under `out`, a folder each.

    `recipe` is a YAML file, the name of a recipe that whichbits ships, or fields; the other arguments go before its fields.
    `calibration` is self, random, a file of text, a JSONL file of conversations, or a data set (a folder or hub id, with
    ,split=... ,config=... ,fields=A+B ,revision=... behind it); `samples` and `seq_length` are the number of its windows and
    their length in tokens. `effort` is fast, balanced (the default where there is no recipe) or best. Calibrated recipes make
    all formats in one pass. With a `budget`, 4.5bits for each weight or 0.01error, one checkpoint is made, mixed-BUDGET, with
    the best of the formats for each layer. `export` is ascend, for a folder FORMAT-ascend beside each for vLLM on Ascend.
    `device` is cpu, cuda (the default where there is one), or several GPUs (cuda:0,cuda:1), which take the samples in turn.
    Started by torchrun, on one machine or several, the processes share the samples of calibrated recipes; the first alone
    writes, and the others return nothing. A model's own Python code runs only with `trust_remote_code`. Progress is shown on
    `console` (default: standard error). Raises UserError.
    """
    from whichbits.models.resolve import resolve
    from whichbits.quantization.model.devices import computing_devices
    from whichbits.quantization.model.ranks import launched
    from whichbits.quantization.recipe.options import budget_of

    targets = _targets(
        format, out, group_size, calibration, samples, seq_length, effort, recipe, seed, mixed=budget is not None
    )
    limits = budget_of(budget) if budget is not None else {}
    if not limits:
        _check_calibration(targets, calibration, samples, seq_length)
    if export is not None:
        _check_export(export, targets, budget)
    mixed = Path(out) / f"mixed-{budget}"
    with launched() as ranks:
        if ranks.first:
            _check_folders([mixed] if limits else [target.out for target in targets], export)
        computing_devices(device)  # refused before there is anything to lose
        base = resolve(model, trust_remote_code=trust_remote_code)
        with progress_bars(console) as start:
            if limits:
                chosen = partial(_within_budget, base, targets, limits, mixed, start, device, trust_remote_code)
                targets = [ranks.of_first(chosen)]
            made = _make(base, targets, start, device, ranks, trust_remote_code)
    return tuple(_checkpoint(target, *found, export) for target, found in zip(targets, made, strict=ranks.first))


def estimate_quantization(
    model: str,
    format: Sequence[str],
    out: Path = Path(),
    *,
    group_size: int | None = None,
    calibration: str | None = None,
    samples: int | None = None,
    seq_length: int | None = None,
    effort: str | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    seed: int | None = None,
    export: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[QuantizationEstimate, ...]:
    """About how long `quantize` takes for each format alone, with how much memory and disk; nothing is made.

    Arguments as for `quantize`; what is exported is not counted, nor calibration text that is kept from an earlier run. Some
    matrices are multiplied on the CPU to learn its speed. Raises UserError.
    """
    import shutil

    from whichbits.quantization.calibration.kept_text import kept_text
    from whichbits.quantization.estimate import cost, measure_rounding, measure_speed

    targets = _targets(format, out, group_size, calibration, samples, seq_length, effort, recipe, seed)
    _check_calibration(targets, calibration, samples, seq_length)
    if export is not None:
        _check_export(export, targets, None)
    (widths, files), speed = _widths(model, trust_remote_code), measure_speed()
    estimates = []
    for target in targets:
        rounding = measure_rounding(target.format, target.recipe)
        kept = kept_text(files, target.recipe.calibration.length, target.recipe.seed).count() if files else 0
        found = cost(widths, target.format, target.recipe, speed, rounding, kept)
        place = next(folder for folder in (target.out.absolute(), *target.out.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(place).free
        name = target.format.name
        estimates.append(QuantizationEstimate(name, found.seconds, found.memory, found.disk, found.scratch, free))
    return tuple(estimates)


def _targets(
    format: Sequence[str],
    out: Path,
    group_size: int | None,
    calibration: str | None,
    samples: int | None,
    seq_length: int | None,
    effort: str | None,
    recipe: str | Path | Mapping[str, Any] | None,
    seed: int | None,
    *,
    mixed: bool = False,
) -> list[Target]:
    """What is to be made, by which recipe, and where; in a mixed checkpoint 16 bit is a format too."""
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.calibrated import Target
    from whichbits.quantization.recipe.options import fields_of, fitting, recipe_of

    if not format:
        raise UserError("no format is named", remedy="add --format; whichbits formats lists them")
    fields = fields_of(recipe, {"group_size": group_size, "seed": seed}, calibration, samples, seq_length)
    targets = []
    for chosen in [get(name) for name in format]:
        if chosen.is_base and (not mixed or chosen.kv_cache):
            remedy = "start vLLM with --kv-cache-dtype fp8" if chosen.kv_cache else "choose another format"
            raise UserError(f"format {chosen.name} cannot be made: its weights are the base's own", remedy=remedy)
        own = recipe_of(fitting(fields, chosen), chosen, effort, own_recipe=recipe is not None)
        targets.append(Target(chosen, own, Path(out) / chosen.name))
    return targets


def _check_calibration(targets: Sequence[Target], *given: object) -> None:
    """Raise UserError where calibration is given to formats that use none."""
    if any(value is not None for value in given) and not any(target.calibrated for target in targets):
        raise UserError(
            "calibration does nothing for formats that are rounded to nearest without data",
            remedy="leave it out, or choose a calibrated recipe with --recipe or --effort",
        )


def _within_budget(
    base: Model,
    targets: Sequence[Target],
    limits: Mapping[str, float],
    out: Path,
    start: Callable[[str], Progress],
    device: str | None,
    trust_remote_code: bool,
) -> Target:
    """One checkpoint with the formats of the targets, each layer's chosen under the budget."""
    from whichbits.quantization.mixed_precision.search import choose_formats
    from whichbits.quantization.passes.calibrated import Target
    from whichbits.quantization.passes.shared_pass import TEXT

    found = choose_formats(
        base.path,
        [target.format.name for target in targets],
        targets[0].recipe,
        **limits,
        device=device,
        trust_remote_code=trust_remote_code,
        base_files=base.files,
        on_token=start(TEXT),
        on_progress=start("layer sensitivity"),
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
    """Before anything is made: raises UserError where a folder is there already (but for a pass that goes on), or cannot be."""
    from whichbits.quantization.output.folder import make_parent, refuse_existing
    from whichbits.quantization.passes.layer_store import unfinished

    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"format {folder.name} is named twice", remedy="name it once")
        if not unfinished(folder).exists():
            refuse_existing(folder)
        if export is not None:
            refuse_existing(_exported(folder, export))
        make_parent(folder)


def _exported(folder: Path, export: str) -> Path:
    return folder.with_name(f"{folder.name}-{export}")


def _make(
    base: Model,
    targets: Sequence[Target],
    start: Callable[[str], Progress],
    device: str | None,
    ranks: Ranks,
    trust_remote_code: bool,
) -> list[Made]:
    """Make the checkpoints, each with its model card; those that are calibrated alike come first.

    Of several ranks the first returns them, and the others nothing.
    """
    from whichbits.quantization.output.card import FILE, card
    from whichbits.quantization.passes.shared_pass import make, passes

    made: dict[Path, Made] = {}
    for group in sorted(passes(targets), key=lambda group: not group[0].calibrated):
        results = make(
            base.path,
            group,
            base_files=base.files,
            start=start,
            device=device,
            ranks=ranks,
            trust_remote_code=trust_remote_code,
        )
        made |= {target.out: result for target, result in zip(group, results, strict=ranks.first)}
    if not ranks.first:
        return []
    for target in targets:
        (target.out / FILE).write_text(card(made[target.out][0], base.reference), encoding="utf-8")
    return [made[target.out] for target in targets]


def _checkpoint(target: Target, manifest: Manifest, errors: Sequence[ModuleError], export: str | None) -> QuantizedCheckpoint:
    """What is said of one checkpoint, which is exported where asked."""
    place = None
    if export is not None:
        from whichbits.formats.export.ascend import export_ascend

        place = _exported(target.out, export)
        export_ascend(target.out, target.format.name, place)
    return QuantizedCheckpoint(
        format=target.out.name,
        folder=target.out,
        bytes=manifest.bytes,
        bits_per_weight=manifest.bits_per_weight,
        gptq_vs_rtn=manifest.gptq_vs_rtn,
        warnings=(*(manifest.calibration.warnings if manifest.calibration else ()), *manifest.loading),
        modules=tuple(errors),
        exported=place,
    )


def errors_by_kind(modules: Sequence[ModuleError]) -> tuple[KindErrors, ...]:
    """The errors of a checkpoint's modules, summed up by kind of module."""
    kinds: dict[str, list[tuple[str, ModuleError]]] = {}
    for entry in modules:
        head, _, rest = entry.module.partition(".layers.")
        number, _, kind = rest.partition(".")
        kind = EXPERT.sub(".experts.*.", kind)
        kinds.setdefault(kind or head, []).append((number, entry))
    return tuple(_of_kind(kind, found) for kind, found in kinds.items())


def _of_kind(kind: str, found: Sequence[tuple[str, ModuleError]]) -> KindErrors:
    errors = [entry.error for _, entry in found]
    nearest = sum(entry.rtn_output_error or 0.0 for _, entry in found)
    ours = sum(entry.output_error or 0.0 for _, entry in found)
    return KindErrors(
        module=kind,
        modules=len(found),
        mean_error=sum(errors) / len(errors),
        largest_error=max(errors),
        in_layer=found[errors.index(max(errors))][0],
        gptq_vs_rtn=ours / nearest if nearest else None,
    )


def _widths(model: str, trust_remote_code: bool) -> tuple[Widths, Mapping[str, str]]:
    """The model's shape: from the catalogue for a hub id that it has, else from the model itself, which is looked at.

    In the second case with the SHA-256 of its files by name.
    """
    from whichbits.models.catalogue import catalogue
    from whichbits.models.resolve import resolve
    from whichbits.quantization.estimate import widths_of, widths_of_shape
    from whichbits.quantization.model.structure import layer_linears

    shape = catalogue().get(model)
    if shape is None or Path(model).exists():
        base = resolve(model, trust_remote_code=trust_remote_code, weights=False)
        return widths_of(base.configuration, base.shapes, layer_linears(base.configuration, base.shapes)), base.files
    return widths_of_shape(shape), {}
