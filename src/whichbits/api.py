"""The Python API: one function for each verb of the command line, with the same name and the same defaults.

(The functions are not in `whichbits` itself because packages of the same names are: `whichbits.study`, `whichbits.report`, ...)
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whichbits
from whichbits.errors import UserError
from whichbits.prediction import calibrate, predict
from whichbits.study.estimate import Durations, duration
from whichbits.study.specification import Engine, Source, Specification, TaskChoice, load
from whichbits.study.store import Store
from whichbits.values import overrides_of, parse_workload, short

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.cost.prices import PriceList
    from whichbits.expand import Expansion
    from whichbits.report.write import Written
    from whichbits.study.cell import Record
    from whichbits.study.ledger import Ledger
    from whichbits.study.plan import Plan
    from whichbits.verdict.model import Verdict

Rows = list[dict[str, Any]]

__all__ = [
    "bench",
    "calibrate",
    "compare",
    "doctor",
    "evaluate",
    "formats",
    "hardware",
    "predict",
    "quantize",
    "recommend",
    "report",
    "study",
]


@dataclass(frozen=True)
class Outcome:
    """What a study came to."""

    verdict: Verdict
    report: Path
    store: Path
    failed: int
    """Cells that failed."""
    times: str
    """Wall-clock time of this run, and seconds by kind of cell, as text."""


@dataclass(frozen=True)
class Preview:
    """What a study would do."""

    rows: Rows
    text: str


def study(
    specification: str | Path | Specification = "demo",
    *,
    store: Path | None = None,
    price: Sequence[str] | None = None,
    data_dir: Path | None = None,
    dry_run: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> Any:
    """Run a study, or what is missing of it, and judge it.

    `specification` is a file, a preset's name, or a Specification; `store` the folder of its results (default: studies/NAME);
    `price` holds DEVICE=USD_PER_HOUR; `data_dir` data sets of public tasks in place of the hub. Returns an Outcome, or with
    `dry_run` a Preview. Raises UserError for a mistake in any of these; a cell that fails is a line of the verdict instead.
    """
    chosen, source = _specification(specification)
    overrides = overrides_of(price)
    place = Store(store or Path("studies") / chosen.name)
    command = shlex.join(["whichbits", *sys.argv[1:]]) if isinstance(specification, str | Path) else f"study {chosen.name}"
    from whichbits.expand import Expansion

    expansion = Expansion(chosen, source, data_dir=data_dir)
    _check_prices(expansion, overrides)
    if dry_run:
        return _preview(expansion, place, overrides)
    began = time.monotonic()
    with place.locked(), _log(place) as log:
        expansion = _probed(expansion, place, log, quiet, console)
        plan = expansion.plan()
        _ledger(expansion, plan, overrides, command, 0.0).write(place.folder)
        states = _run(plan, expansion, place, log, quiet, console)
        seconds = time.monotonic() - began
        ledger = _ledger(expansion, plan, overrides, command, seconds)
        ledger.write(place.folder)
        from whichbits import conclude

        verdict = conclude.judge(ledger, place)
        written = conclude.write(verdict, ledger, place)
    by_kind = ", ".join(f"{kind} {duration(value)}" for kind, value in conclude.room_seconds(ledger.records(place)).items())
    times = f"This run took {duration(seconds)}. Seconds of all cells, by kind: {by_kind}."
    failed = sum(state == "failed" for state in states.values())
    return Outcome(verdict, written.html, place.folder, failed, times)


def quantize(
    model: str,
    format: Sequence[str],
    out: Path,
    *,
    scales: str = "mse",
    group_size: int | None = None,
    seed: int = 0,
    recipe: Path | None = None,
) -> Rows:
    """Make a checkpoint of each format under `out`, a folder each; one row for each.

    `recipe` is a YAML file with fields of a recipe, which go before the arguments; a calibrated one makes all formats in one
    pass. Raises UserError.
    """
    from rich.progress import Progress

    from whichbits.formats.format import get
    from whichbits.models.resolve import resolve
    from whichbits.quantize.calibrated import Target, quantize_calibrated
    from whichbits.quantize.checkpoint import quantize_checkpoint
    from whichbits.quantize.recipe import parse, read

    fields = {"scales": scales, "seed": seed, "group_size": group_size} | (read(recipe) if recipe else {})
    targets = []
    for chosen in [get(name) for name in format]:
        fitting = parse(fields if chosen.group_sizes else {**fields, "group_size": None})
        targets.append(Target(chosen, fitting, Path(out) / chosen.name))
    base = resolve(model)
    with Progress(transient=True) as progress:
        bar = progress.add_task("", total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        if targets and targets[0].recipe.calibrated:
            results = quantize_calibrated(base.path, targets, base_files=base.files, on_progress=show)
        else:
            results = []
            for target in targets:
                progress.update(bar, description=target.format.name, total=None)
                results.append(
                    quantize_checkpoint(
                        base.path, target.format, target.recipe, target.out, base_files=base.files, on_progress=show
                    )
                )
    rows: Rows = []
    for target, (manifest, errors) in zip(targets, results, strict=True):
        worst = max(errors, key=lambda error: error.error)
        row = {
            "format": target.format.name,
            "folder": str(target.out),
            "megabytes": round(manifest.bytes / 1e6, 1),
            "bits_per_weight": round(manifest.bits_per_weight, 3),
            "mean_error": round(sum(error.error for error in errors) / len(errors), 5),
            "worst_module": f"{worst.module} ({worst.error:.4f})",
        }
        rows.append(row | ({"warnings": "; ".join(manifest.calibration.warnings)} if manifest.calibration else {}))
    return rows


def evaluate(
    model: str,
    task: Sequence[str],
    *,
    emulated: bool = False,
    limit: int | None = None,
    store: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
) -> Rows:
    """Score one checkpoint on tasks (names, or JSONL files): one row a task. A study of one column; raises UserError."""
    choices = tuple(
        TaskChoice(name=Path(name).stem, jsonl=Path(name), limit=limit)
        if name.endswith(".jsonl")
        else TaskChoice(name=name, limit=limit)
        for name in task
    )
    part = Specification(version=1, name="evaluate", model=model, candidates=(), tasks=choices, base_repeats=1, seed=seed)
    records = _partial(part, store, {"evaluate"}, emulated=emulated, data_dir=data_dir)
    columns = ("task", "metric", "n", "score", "stderr", "chance")
    return [{name: short(record.summary.get(name)) for name in columns} for record in records]


def compare(
    base: str,
    candidate: str,
    *,
    prompts: Path | None = None,
    text: Path | None = None,
    max_tokens: int = 128,
    emulated: bool = False,
    store: Path | None = None,
    seed: int = 0,
) -> Rows:
    """Compare a checkpoint, or a format to be made, with the base: greedy texts and next-token distributions, a row a measure.

    With `emulated` there are only distributions, which are taken in transformers. Raises UserError.
    """
    from whichbits.formats.format import load as catalogue
    from whichbits.study.specification import Candidate, Similarity

    run = "emulated" if emulated else "served"
    column = Candidate(format=candidate, run=run) if candidate in catalogue() else Candidate(checkpoint=candidate, run=run)
    part = Specification(
        version=1,
        name="compare",
        model=base,
        candidates=(column,),
        similarity=Similarity(prompts=prompts, text=text, max_tokens=max_tokens),
        seed=seed,
    )
    wanted = {"quantize", "distribution"} if emulated else {"quantize", "generate", "compare", "distribution"}
    rows: Rows = []
    for record in _partial(part, store, wanted):
        if record.kind in ("compare", "distribution"):
            what = record.labels.get("prompts") or record.labels.get("text")
            rows += [{"on": what, "measure": name, "value": short(value)} for name, value in record.summary.items()]
    return rows


def bench(
    model: str,
    workload: Sequence[str],
    *,
    url: str | None = None,
    rounds: int = 1,
    store: Path | None = None,
    seed: int = 0,
) -> Rows:
    """Measure how fast a checkpoint is served: one row for each workload, round and load. Raises UserError."""
    entries = [parse_workload(name).model_dump(mode="json") for name in workload]
    part = Specification(
        version=1, name="bench", model=model, candidates=(), workloads=tuple(entries), rounds=rounds, seed=seed
    )
    if url is not None:
        part = part.model_copy(update={"engine": Engine(kind="url", urls={"bf16": url, "fp16": url})})
    rows: Rows = []
    for record in _partial(part, store, {"serve"}):
        for rung in record.summary["rungs"]:
            metrics = rung["metrics"]
            rows.append(
                {
                    "workload": record.labels["workload"],
                    "round": int(record.labels["repeat"]) + 1,
                    "load": rung["rung"],
                    "requests_per_second": short(metrics["requests_per_second"]),
                    "latency_s": _mean(metrics["latency_s"]),
                    "ttft_s": _mean(metrics["ttft_s"]),
                    "itl_s": _mean(metrics["itl_s"]),
                    "valid": "yes" if rung["valid"] else f"no: {'; '.join(rung['reasons'])}",
                }
            )
    return rows


def recommend(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Verdict:
    """The verdict of a study from its store alone, at its own margin and prices or at others. Raises UserError."""
    from whichbits import conclude
    from whichbits.study.ledger import read

    overrides = overrides_of(price)
    if margin is not None and not 0 < margin < 1:
        raise UserError(f"margin: {margin} is not between 0 and 1", remedy="give a share, as 0.02 for 2 %")
    ledger = read(Path(store))
    kept = conclude.read_verdict(Path(store)) if margin is None and not overrides else None
    return kept or conclude.judge(ledger, Store(Path(store)), margin=margin, prices=overrides)


def report(store: Path) -> Written:
    """Write report.html and verdict.json of a study again, from its store alone. Raises UserError."""
    from whichbits import conclude
    from whichbits.study.ledger import read

    ledger, place = read(Path(store)), Store(Path(store))
    return conclude.write(conclude.judge(ledger, place), ledger, place)


def formats() -> Rows:
    """The catalogue of formats, a row each."""
    from whichbits.formats.format import load as catalogue

    def bits(args: Any) -> str:
        return "16" if args is None else f"{args.num_bits}-bit {args.type}, {args.strategy}"

    return [
        {
            "format": format.name,
            "weights": bits(format.weights),
            "activations": bits(format.activations),
            "for": format.purpose,
            "not_made": format.refused or "",
        }
        for format in catalogue().values()
    ]


def hardware() -> Rows:
    """The hardware that is known: memory, bandwidth, peak rates, price."""
    from whichbits.cost.hardware import catalogue
    from whichbits.prediction import hourly_prices

    listed = hourly_prices({})
    return [
        {
            "hardware": entry.id,
            "memory_gb": round(entry.memory / 1e9),
            "bandwidth_gb_s": round(entry.bandwidth / 1e9),
            **{
                f"{kind}_tflops": round(entry.peak[kind] / 1e12) if kind in entry.peak else None
                for kind in ("bf16", "int8", "fp8")
            },
            "usd_per_hour": listed.get(entry.name),
        }
        for entry in catalogue().values()
    ]


def doctor() -> Rows:
    """What a study needs on this machine, and whether it is there."""
    from whichbits.engines.doctor import doctor as check

    return [asdict(row) for row in check()]


# What the verbs share


def _specification(specification: str | Path | Specification) -> tuple[Specification, Source]:
    if isinstance(specification, Specification):
        return specification, Source("", f"study {specification.name}")
    return load(specification)


def _check_prices(expansion: Expansion, overrides: Mapping[str, float]) -> PriceList:
    """The price list; a deployment that it does not know is an error now, not after hours."""
    from whichbits.cost.prices import prices

    chosen = expansion.specification
    listed = prices(chosen.prices, overrides)
    deployment = chosen.deployment
    if deployment.price_per_hour is None and deployment.hardware != "this-machine":
        listed.price(deployment.hardware)
    return listed


@contextmanager
def _log(store: Store) -> Iterator[Path]:
    """The run's log file."""
    yield store.folder / "run.log"


@contextmanager
def _disk_errors(store: Store) -> Iterator[None]:
    """A store that cannot be written any more ends the run with one line; finished cells are kept."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"store: {store.folder} cannot be written: {error.strerror or error}",
            remedy="free some space and run the same command again; finished cells are kept",
        ) from error


def _probed(expansion: Expansion, store: Store, log: Path, quiet: bool, console: Console | None) -> Expansion:
    """The expansion with what the probes say, run first where some candidate's way to run depends on them."""
    from dataclasses import replace

    plan = expansion.probes()
    if not plan.cells:
        return expansion
    _run(plan, expansion, store, log, quiet, console)
    records = [store.record(planned.cell) for planned in plan.cells]
    statuses = {
        record.labels["format"]: str(record.summary["status"]) if record.state == "done" else "refused" for record in records
    }
    return replace(expansion, statuses=statuses)


def _run(plan: Plan, expansion: Expansion, store: Store, log: Path, quiet: bool, console: Console | None) -> dict[str, str]:
    """Run what is missing of a plan; the state of each cell by key."""
    from rich.console import Console as RichConsole

    from whichbits.cells import FUNCTIONS, PRELOAD
    from whichbits.console import RunView
    from whichbits.engines.hardware import processors
    from whichbits.servers import EngineServers, NoServers, resident_servers
    from whichbits.study.executor import LocalExecutor
    from whichbits.study.runner import Cores, Runner

    missing = [planned.cell for planned in plan.missing(store)]
    durations = Durations()
    durations.read(store.folder)
    settings = expansion.settings
    servers: EngineServers | NoServers = NoServers()
    if expansion.command is not None:
        base = sum(path.stat().st_size for path in expansion.model.path.glob("*.safetensors"))
        resident = resident_servers(expansion.hardware, settings, {expansion.base: base})
        servers = EngineServers(expansion.command, settings, store.folder / "servers", resident)
    client = frozenset(processors(settings.client_cpus)) if settings.client_cpus else None
    view = RunView(console or RichConsole(quiet=quiet), missing, durations, log)
    if len(missing) < len(plan.cells):
        view.console.print(f"{len(plan.cells) - len(missing)} of {len(plan.cells)} cells are done already", style="dim")
    with view, _disk_errors(store):
        runner = Runner(
            plan,
            store,
            FUNCTIONS,
            LocalExecutor(store.folder, PRELOAD),
            servers,
            view,
            Cores(client, client),
            side_by_side=not expansion.hardware.gpus,
        )
        return dict(runner.run())


def _ledger(expansion: Expansion, plan: Plan, overrides: Mapping[str, float], command: str, seconds: float) -> Ledger:
    """What the store needs to know to judge and report later."""
    from whichbits.conclude import deployment_prices
    from whichbits.study.ledger import Ledger, entries

    chosen = expansion.specification
    deployment = chosen.deployment
    engines: list[dict[str, Any]] = []
    if expansion.command is not None:
        serving = expansion.serving
        engines.append(
            {
                "name": "vLLM",
                "version": expansion.command.version,
                "arguments": serving["arguments"],
                "environment": serving["environment"],
            }
        )
    engines += [{"name": name, "version": version} for name, version in expansion.emulation["versions"].items()]
    priced = deployment_prices(deployment.hardware, deployment.count, deployment.price_per_hour, chosen.prices, overrides)
    return Ledger(
        study=chosen.name,
        specification=expansion.source.text or chosen.model_dump_json(indent=1),
        command=command,
        model=chosen.model,
        notes=(*expansion.model.notes, *chosen.notes, *chosen.unavailable),
        base=expansion.base,
        base_bytes=sum(path.stat().st_size for path in expansion.model.path.glob("*.safetensors")),
        formats={subject.name: subject.format.name for subject in expansion.subjects},
        margin=chosen.margin,
        seed=chosen.seed,
        hardware=expansion.hardware.kind,
        engines=tuple(engines),
        workloads={workload.name: workload.model_dump(mode="json") for workload in expansion.workloads},
        deployments={deployment.name: {"hardware": deployment.hardware, "count": deployment.count, **priced}},
        prices=chosen.prices,
        cells=entries({planned.cell.key: planned.cell for planned in plan.cells}),
        seconds={"run": round(seconds, 1)},
        version=whichbits.__version__,
    )


def _preview(expansion: Expansion, store: Store, overrides: Mapping[str, float]) -> Preview:
    """The cells of a plan, which are done, and how long the others will take by what the store has seen."""
    from whichbits.conclude import deployment_prices
    from whichbits.console import name

    plan = expansion.plan()
    durations = Durations()
    durations.read(store.folder)
    rows = []
    for planned in plan.cells:
        done = store.done(planned.cell)
        seconds = None if done else durations.cell(planned.cell)
        expected = "" if done else duration(seconds) if seconds is not None else "unknown"
        rows.append({"cell": name(planned.cell), "key": planned.cell.key[:12], "done": "yes" if done else "", "time": expected})
    left = durations.total(planned.cell for planned in plan.missing(store))
    deployment = expansion.specification.deployment
    price = deployment_prices(
        deployment.hardware, deployment.count, deployment.price_per_hour, expansion.specification.prices, overrides
    )["price_per_hour"]
    dollars = "unknown" if price is None or left.unknown else f"${left.seconds / 3600 * price:.2f}"
    undecided = (
        "" if expansion.statuses or not expansion.probes().cells else " Candidates with `run: auto` are shown as served."
    )
    return Preview(
        rows, f"{len(plan.missing(store))} of {len(plan.cells)} cells to run. Time: {left}. Cost: {dollars}.{undecided}"
    )


def _partial(
    specification: Specification,
    store: Path | None,
    kinds: set[str],
    *,
    emulated: bool = False,
    data_dir: Path | None = None,
) -> list[Record]:
    """Run the cells of these kinds of a small study, and return their records; a failed one raises UserError with its cause."""
    from dataclasses import replace

    from whichbits.expand import Expansion

    expansion = Expansion(
        specification, Source("", specification.name), data_dir=data_dir, base_engine="emulated" if emulated else None
    )
    place = Store(store or Path("studies") / specification.name)
    plan = expansion.plan()
    chosen = tuple(planned for planned in plan.cells if planned.cell.kind in kinds)
    with place.locked(), _log(place) as log:
        _run(replace(plan, cells=chosen), expansion, place, log, False, _stderr())
        records = [place.record(planned.cell) for planned in chosen]
    for record in records:
        if record.state != "done":
            raise UserError(
                f"{record.kind}: {record.error or 'did not run'}", remedy=f"see {log} and {place.folder / 'failed'}"
            )
    return records


def _stderr() -> Console:
    """Progress of a verb whose result goes to standard output."""
    from rich.console import Console as RichConsole

    return RichConsole(stderr=True)


def _mean(distribution: Mapping[str, Any] | None) -> float | None:
    return None if distribution is None else short(distribution["mean"])
