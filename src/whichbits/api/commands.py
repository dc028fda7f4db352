"""The Python API: one function for each verb of the command line, with the same name and the same defaults.

(The functions are not in `whichbits` itself because packages of the same names are: `whichbits.study`, `whichbits.report`, ...)
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.api.arguments import overrides_of, parse_workload, short
from whichbits.api.predict import calibrate, predict
from whichbits.api.quantize import quantize
from whichbits.core.errors import UserError
from whichbits.studies.planning.estimate import duration
from whichbits.studies.specification.schema import Candidate, Specification, load, specify
from whichbits.studies.specification.source import Source
from whichbits.studies.store.store import Store
from whichbits.studies.study import Preview, check_prices, ledger_of, preview, probed, run, run_part, set_aside_measured

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.reporting.write import Written
    from whichbits.schema.step import Record
    from whichbits.verdict.model import Verdict

Rows = list[dict[str, Any]]

BASE = ("bf16", "fp16")
"""Names that the base may have, by its dtype."""

__all__ = [
    "Outcome",
    "Preview",
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


def study(
    specification: str | Path | Specification = "demo",
    *,
    store: Path | None = None,
    price: Sequence[str] | None = None,
    data_dir: Path | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> Outcome | Preview:
    """Run a study, or what is missing of it, and judge it.

    `specification` is a file, a preset's name, or a Specification; `store` the folder of its results (default: studies/NAME);
    `price` holds DEVICE=USD_PER_HOUR; `data_dir` data sets of public tasks in place of the hub. With `fresh` all that is
    measured is measured again; checkpoints that were made are kept. Returns an Outcome, or with `dry_run` a Preview. Raises
    UserError for a mistake in any of these; a cell that fails is a line of the verdict instead.
    """
    chosen, source = _specification(specification)
    overrides = overrides_of(price)
    place = Store(store or Path("studies") / chosen.name)
    given = isinstance(specification, str | Path)
    command = _command(str(specification), store, price, data_dir) if given else "api.study(specification), in Python"
    from whichbits.studies.planning.planner import Expansion

    expansion = Expansion(chosen, source, data_dir=data_dir, weights=not dry_run)
    check_prices(expansion, overrides)
    if dry_run:
        return preview(expansion, place, overrides)
    _ = expansion.deployment_caveats  # refused now, not after hours
    began = time.monotonic()
    with place.locked():
        expansion = probed(expansion, place, quiet=quiet, console=console)
        plan = expansion.plan()
        if fresh:
            set_aside_measured(plan, place)
        ledger_of(expansion, plan, overrides, command, 0.0).write(place.folder)
        states = run(plan, expansion, place, quiet=quiet, console=console)
        seconds = time.monotonic() - began
        ledger = ledger_of(expansion, plan, overrides, command, seconds)
        ledger.write(place.folder)
        from whichbits.studies import conclusion

        verdict = conclusion.judge(ledger, place)
        written = conclusion.write(verdict, ledger, place)
    by_kind = ", ".join(f"{kind} {duration(value)}" for kind, value in conclusion.room_seconds(ledger.records(place)).items())
    times = f"This run took {duration(seconds)}. Seconds of all cells, by kind: {by_kind}."
    failed = sum(state == "failed" for state in states.values())
    return Outcome(verdict, written.html, place.folder, failed, times)


def evaluate(
    model: str,
    task: Sequence[str],
    *,
    emulated: bool = False,
    url: str | None = None,
    served_model_name: str | None = None,
    limit: int | None = None,
    store: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
) -> Rows:
    """Score one checkpoint on tasks (names, or JSONL files): one row a task. A study of one column; raises UserError.

    `url` is where a server serves the checkpoint already, and `served_model_name` the name it does so under, where it lists
    several.
    """
    if emulated and url is not None:
        raise UserError("url: a checkpoint is emulated here, not at an address", remedy="leave out --emulated, or --url")
    choices = [
        {"name": Path(name).stem, "jsonl": name, "limit": limit} if name.endswith(".jsonl") else {"name": name, "limit": limit}
        for name in task
    ]
    engine = _served_at({BASE: (url, served_model_name)})
    part = _part("evaluate", model, tasks=choices, base_repeats=1, engine=engine, seed=seed)
    records = run_part(part, store, {"evaluate"}, emulated=emulated, data_dir=data_dir)
    columns = ("task", "metric", "n", "score", "stderr", "chance")
    return [
        {
            **{name: short(record.summary.get(name)) for name in columns},
            **_weights(record),
        }
        for record in records
    ]


def _weights(record: Record) -> dict[str, str]:
    """A field that says whether a server at an address serves the weights at hand; none where nothing was asked."""
    from whichbits.verdict.collect import weights_of

    candidate = record.labels["candidate"]
    served = next((one for one in weights_of(record, candidate) if one.candidate == candidate), None)
    if served is None:
        return {}
    if served.reason is not None:
        return {"weights": f"not compared: {served.reason}"}
    if not served.other:
        return {"weights": "the same"}
    return {"weights": f"others: {served.distance:.3f} nats a token away, where rounding explains {served.limit:.3f}"}


def compare(
    base: str,
    candidate: str,
    *,
    prompts: Path | None = None,
    text: Path | None = None,
    max_tokens: int = 128,
    emulated: bool = False,
    url: str | None = None,
    candidate_url: str | None = None,
    served_model_name: str | None = None,
    candidate_served_model_name: str | None = None,
    store: Path | None = None,
    seed: int = 0,
) -> Rows:
    """Compare a checkpoint, or a format to be made, with the base: greedy texts and next-token distributions, a row a measure.

    With `emulated` there are only distributions, which are taken in transformers. `url` and `candidate_url` are where servers
    serve base and candidate already, the other two the names they do so under, where they list several. Raises UserError.
    """
    from whichbits.formats.format import load as catalogue

    made = candidate.partition("+")[0] in catalogue()  # NAME, or NAME+CACHE with a quantized key-value cache
    column = {"format" if made else "checkpoint": candidate, "run": "emulated" if emulated else "served"}
    texts = {"prompts": prompts, "text": text, "max_tokens": max_tokens}
    if (url is None) != (candidate_url is None) or (emulated and url is not None):
        raise UserError(
            "url and candidate_url: texts of base and candidate are compared at an address each",
            remedy="give both --url and --candidate-url, without --emulated, or neither",
        )
    named = Candidate.model_validate(column).name
    engine = _served_at({BASE: (url, served_model_name), (named,): (candidate_url, candidate_served_model_name)})
    part = _part("compare", base, candidates=[column], similarity=texts, engine=engine, seed=seed)
    wanted = {"quantize", "distribution"} if emulated else {"quantize", "generate", "compare", "distribution"}
    rows: Rows = []
    for record in run_part(part, store, wanted):
        if record.kind in ("compare", "distribution"):
            what = record.labels.get("prompts") or record.labels.get("text")
            rows += [{"on": what, "measure": name, "value": short(value)} for name, value in record.summary.items()]
        rows += [{"on": record.labels["candidate"], "measure": name, "value": said} for name, said in _weights(record).items()]
    return rows


def bench(
    model: str,
    workload: Sequence[str],
    *,
    url: str | None = None,
    served_model_name: str | None = None,
    rounds: int = 1,
    store: Path | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> Rows:
    """Measure how fast a checkpoint is served: one row for each workload, round and load. Raises UserError.

    `url` is where a server serves it already, and `served_model_name` the name it does so under, where it lists several.
    With `fresh` it is measured though the store has results of the same server and workload.
    """
    entries = [parse_workload(name).model_dump(mode="json") for name in workload]
    engine = _served_at({BASE: (url, served_model_name)})
    part = _part("bench", model, workloads=entries, rounds=rounds, engine=engine, seed=seed)
    rows: Rows = []
    for record in run_part(part, store, {"serve"}, fresh=fresh):
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
                    **_weights(record),
                }
            )
    return rows


def recommend(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Verdict:
    """The verdict of a study from its store alone, at its own margin and prices or at others. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.manifest import read

    overrides = overrides_of(price)
    if margin is not None and not 0 < margin < 1:
        raise UserError(f"margin: {margin} is not between 0 and 1", remedy="give a share, as 0.02 for 2 %")
    ledger = read(Path(store))
    kept = conclusion.read_verdict(Path(store)) if margin is None and not overrides else None
    return kept or conclusion.judge(ledger, Store(Path(store)), margin=margin, prices=overrides)


def report(store: Path) -> Written:
    """Write report.html and verdict.json of a study again, from its store alone. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.manifest import read

    ledger, place = read(Path(store)), Store(Path(store))
    return conclusion.write(conclusion.judge(ledger, place), ledger, place)


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
    from whichbits.api.predict import hourly_prices
    from whichbits.hardware.catalogue import catalogue

    listed = hourly_prices({})
    return [
        {
            "hardware": entry.id,
            "memory_gb": round(entry.memory / 2**30),
            "bandwidth_gb_s": round(entry.bandwidth / 1e9),
            **{
                f"{kind}_tflops": round(entry.peak[kind] / 1e12) if kind in entry.peak else None
                for kind in ("bf16", "int8", "fp8", "fp4")
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


def _part(name: str, model: str, **fields: Any) -> Specification:
    """A small study of what a verb asks for. Raises UserError."""
    return specify({"version": 1, "name": name, "model": model, "candidates": [], **fields}, Source("", name))


def _served_at(servers: Mapping[tuple[str, ...], tuple[str | None, str | None]]) -> dict[str, Any]:
    """The engine of a small study whose candidates, each with its possible names, are served at addresses, if they are."""
    for _, (url, model) in servers.items():
        if url is None and model is not None:
            options = "--url" if len(servers) == 1 else "--url and --candidate-url"
            raise UserError(
                f"served_model_name: {model!r} is the name at an address", remedy=f"give what it is served at, by {options}"
            )
    urls = {name: url for names, (url, _) in servers.items() for name in names if url is not None}
    named = {name: model for names, (_, model) in servers.items() for name in names if model is not None}
    if not urls:
        return {}
    return {"kind": "url", "urls": urls, **({"served_model_name": named} if named else {})}


def _command(specification: str, store: Path | None, price: Sequence[str] | None, data_dir: Path | None) -> str:
    """The command line that runs a study again, for its report."""
    options = [("--store", store), *(("--price", entry) for entry in price or ()), ("--data-dir", data_dir)]
    words = [str(word) for option in options if option[1] is not None for word in option]
    return shlex.join(["whichbits", "study", specification, *words])


def _specification(specification: str | Path | Specification) -> tuple[Specification, Source]:
    if isinstance(specification, Specification):
        return specification, Source("", f"study {specification.name}")
    return load(specification)


def _mean(distribution: Mapping[str, Any] | None) -> float | None:
    return None if distribution is None else short(distribution["mean"])
