"""From a store to its verdict and report: reads the results, judges them, writes the page. Runs nothing, needs no engine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.formats.catalogue import get
from whichbits.schema.deployment import Deployment
from whichbits.schema.step import Record
from whichbits.studies.store.manifest import StudyManifest

if TYPE_CHECKING:
    from whichbits.reporting.context import PublishedComparison, ReportContext, TextPair
    from whichbits.reporting.write import Written
    from whichbits.verdict.estimates import Estimate
    from whichbits.verdict.verdict import CostFinding, Verdict


GIVEN = "given in the specification"
VLLM = "vLLM"
"""Its name among the engines of a manifest."""
TRUSTED = "trust-remote-code"
"""The argument by which vLLM runs a model's own Python code."""


def priced_deployment(
    hardware: str, count: int, given: float | None, preset: str, overrides: Mapping[str, float]
) -> Deployment:
    """A deployment with its price by the hour, that price's source, and what to say of it; a machine may have no price.

    `given` is the specification's, of the whole deployment; one of `overrides` for the same device comes before it.
    """
    from whichbits.cost.prices import BY_USER, prices

    listed = prices(preset, overrides)
    device = "cpu" if hardware == "this-machine" else hardware
    price = listed.find(device)
    if given is not None and (price is None or price.source != BY_USER):
        return Deployment(hardware=hardware, count=count, price_per_hour=given, price_source=GIVEN)
    if price is None and device == "cpu":
        return Deployment(hardware=hardware, count=count)
    price = listed.price(device)
    today = datetime.now(UTC).date()
    source = f"{price.source}{f', {price.as_of.isoformat()}' if price.as_of else ''}"
    return Deployment(
        hardware=hardware,
        count=count,
        price_per_hour=price.per_hour(count),
        price_source=source,
        as_of=(price.as_of or today).isoformat(),
        warnings=tuple(listed.warnings(today, [device])),
    )


def at(manifest: StudyManifest, margin: float | None, prices: Mapping[str, float]) -> StudyManifest:
    """The study at another margin and at other prices by device, where any are given."""
    deployments = dict(manifest.deployments)
    for name, entry in manifest.deployments.items():
        if prices:
            given = entry.price_per_hour if entry.price_source == GIVEN else None
            deployments[name] = priced_deployment(entry.hardware, entry.count, given, manifest.prices, prices)
    return manifest.model_copy(update={"margin": manifest.margin if margin is None else margin, "deployments": deployments})


def judge(manifest: StudyManifest, records: Sequence[Record]) -> Verdict:
    """The verdict on the records of a store, at the manifest's margin and prices."""
    from whichbits.verdict.assemble import decide
    from whichbits.verdict.collect import collect

    findings = collect(
        records,
        manifest.base,
        manifest.formats,
        deployments=manifest.deployments,
        workloads=manifest.workloads,
        base_bytes=manifest.base_bytes,
        stopped_early=manifest.early_stopping is not None,
    )
    warnings = [warning for entry in manifest.deployments.values() for warning in entry.warnings]
    return decide(
        findings,
        study=manifest.study,
        model=manifest.model,
        margin=manifest.margin,
        looks=manifest.looks,
        early_stopping=manifest.early_stopping,
        notes=(*manifest.notes, *warnings),
        seed=manifest.seed,
    )


def write(
    verdict: Verdict, manifest: StudyManifest, records: Sequence[Record], folder: Path, *, options: Sequence[str] = ()
) -> Written:
    """Write report, verdict, changed items, and a model card for each checkpoint that was made, into the store.

    `options` are those that change the study's own margin and prices to the manifest's.
    """
    from whichbits.reporting.write import write as write_files
    from whichbits.studies.changed_items import write_changed_items
    from whichbits.studies.published import published_next_to
    from whichbits.studies.texts_least_alike import texts_least_alike

    serve = serve_commands(manifest, records)
    _write_cards(verdict, manifest.model, records, serve, folder / "cards")
    write_changed_items(records, manifest.base, folder)
    commands = [shlex.join(["whichbits", command, str(folder), *options]) for command in ("recommend", "report")]
    published, texts = published_next_to(verdict), tuple(texts_least_alike(records, manifest.base))
    context = _context(manifest, records, folder, serve, (manifest.command, *commands), published, texts)
    return write_files(verdict, context, folder)


def _write_cards(verdict: Verdict, model: str, records: Sequence[Record], serve: Mapping[str, str], folder: Path) -> None:
    """`CANDIDATE.md` in `folder`: what made the checkpoint, and what it keeps of the base."""
    from whichbits.quantization.output.card import card
    from whichbits.quantization.output.manifest import FILE, Manifest

    for record in records:
        manifest = record.directory / "checkpoint" / FILE
        if record.kind == "quantize" and manifest.is_file():
            folder.mkdir(exist_ok=True)
            candidate = record.labels.candidate
            text = card(
                Manifest.model_validate_json(manifest.read_text(encoding="utf-8")),
                model,
                recovery_table(verdict, candidate),
                serve=serve.get(candidate),
            )
            (folder / f"{candidate.replace('/', '-')}.md").write_text(text, encoding="utf-8")


def serve_commands(manifest: StudyManifest, records: Sequence[Record]) -> dict[str, str]:
    """The command that serves each candidate whose checkpoint is here, by candidate."""
    folders = dict(manifest.checkpoints)
    for record in records:
        if record.kind == "quantize" and record.state == "done":
            folders[record.labels.candidate] = str((record.directory / "checkpoint").absolute())
    trusted = any(engine.name == VLLM and engine.arguments.get(TRUSTED) for engine in manifest.engines)
    shared = (f"--{TRUSTED}",) if trusted else ()
    return {
        name: shlex.join(["vllm", "serve", folder, *shared, *_cache_arguments(manifest.formats[name])])
        for name, folder in folders.items()
    }


def _cache_arguments(format: str) -> tuple[str, ...]:
    """What tells vLLM of a quantized key-value cache."""
    cache = get(format).kv_cache
    if cache is None:
        return ()
    return ("--kv-cache-dtype", f"{'fp' if cache.type == 'float' else cache.type}{cache.num_bits}")


def recovery_table(verdict: Verdict, candidate: str) -> list[dict[str, str]]:
    """What a candidate keeps of the base, a row for each task and one for all together; nothing where nothing was measured."""
    from whichbits.verdict.words.decisions import excluded

    rows = [
        {
            "task": task.task,
            "items": f"{task.items:,}",
            verdict.base: f"{task.base_score:.4f}",
            candidate: f"{task.score:.4f}",
            "recovery, % (95 % interval)": _interval(task.recovery)
            if task.recovery
            else excluded(task.excluded)
            if task.excluded
            else "",
            "provenance": task.provenance,
        }
        for task in verdict.tasks
        if task.candidate == candidate
    ]
    rows += [
        {
            "task": "all",
            "items": f"{suite.items:,}",
            verdict.base: "",
            candidate: "",
            "recovery, % (95 % interval)": _interval(suite.recovery),
            "provenance": suite.provenance,
        }
        for suite in verdict.suites
        if suite.candidate == candidate
    ]
    return rows


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _context(
    manifest: StudyManifest,
    records: Sequence[Record],
    folder: Path,
    serve: Mapping[str, str],
    commands: tuple[str, ...],
    published: tuple[PublishedComparison, ...],
    texts: tuple[TextPair, ...],
) -> ReportContext:
    from whichbits.reporting.context import Engine, Price, ReportContext, StepEntry

    return ReportContext(
        study=manifest.study,
        model=manifest.model,
        model_notes=manifest.notes,
        hardware=manifest.hardware,
        engines=tuple(
            Engine(
                name=engine.name,
                version=engine.version,
                arguments=tuple(f"{name} {value}" for name, value in engine.arguments.items()),
                environment=dict(engine.environment),
            )
            for engine in manifest.engines
        ),
        date=_date(records),
        seeds={"study": manifest.seed},
        specification=manifest.specification,
        serve=dict(serve),
        commands=commands,
        steps=tuple(
            StepEntry(
                key=record.key,
                kind=record.kind,
                labels=record.labels.shown(),
                state=record.state,
                seconds=record.provenance.seconds,
                summary=record.summary,
                directory=record.directory.relative_to(folder).as_posix(),
                error=record.error,
            )
            for record in records
        ),
        seconds=kind_seconds(records),
        whichbits_version=manifest.version,
        price_list=manifest.prices,
        prices=tuple(
            Price(
                hardware=name,
                per_hour=entry.price_per_hour,
                source=entry.price_source or "",
                as_of=entry.as_of or date.today().isoformat(),
            )
            for name, entry in manifest.deployments.items()
            if entry.price_per_hour is not None
        ),
        published=published,
        texts=texts,
    )


def _date(records: Sequence[Record]) -> datetime:
    """When the last step was finished."""
    ends = [record.provenance.finished_at for record in records if record.provenance.finished_at is not None]
    return datetime.fromisoformat(max(ends)) if ends else datetime.now(UTC)


def kind_seconds(records: Sequence[Record]) -> dict[str, float]:
    """Seconds that the finished steps took, by kind."""
    seconds: dict[str, float] = {}
    for record in {record.key: record for record in records}.values():
        if record.state == "done":
            seconds[record.kind] = seconds.get(record.kind, 0.0) + record.provenance.all_seconds
    return {kind: round(value, 1) for kind, value in seconds.items()}


def read_verdict(manifest: StudyManifest, folder: Path) -> Verdict | None:
    """The verdict that a store holds, to be judged anew where there is none at the manifest's margin and prices.

    None also where it was written by another version, is damaged, or is older than `study.json`: then a run has begun since,
    and the verdict may not know all steps.
    """
    from whichbits.studies.store.manifest import FILE
    from whichbits.verdict.verdict import Verdict

    path = folder / "verdict.json"
    try:
        if path.stat().st_mtime_ns < (folder / FILE).stat().st_mtime_ns:
            return None
        verdict = Verdict.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return verdict if verdict.margin == manifest.margin and all(_at_price_of(manifest, cost) for cost in verdict.cost) else None


def _at_price_of(manifest: StudyManifest, cost: CostFinding) -> bool:
    entry = manifest.deployments.get(cost.deployment)
    price = (None, None) if entry is None else (entry.price_per_hour, entry.price_source)
    return (cost.price_per_hour, cost.price_source) == price
