"""The commands `bench` and `prefill-decode`: how fast a checkpoint is served, a row a load or a batch.

`bench --from` compares what another tool measured of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import whichbits
from whichbits.cli.options import AsJson, Fresh, Seed, ServedName, StoreDir
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.api.bench import MeasuredLoad
    from whichbits.api.prefill_decode import MeasuredBatch
    from whichbits.cli.tables import Row
    from whichbits.schema.metrics import ServingMetric
    from whichbits.schema.serve import Metrics
    from whichbits.verdict.verdict import Verdict


def bench(
    model: Annotated[str | None, typer.Argument(help="Folder, hub id, or an embedded model's name.")] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", help="Workload by name (rag, ...; docs/serving.md), or PROMPT/OUTPUT tokens; repeatable."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address that serves the model already; default: start a server.")] = None,
    served_model_name: ServedName = None,
    concurrency: Annotated[
        list[int] | None, typer.Option(help="Requests in flight, in place of the workload's loads; repeatable.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests per second, Poisson arrivals, in place of the workload's loads.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="How often each workload is measured; one round gives no interval between rounds.")
    ] = 1,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Results of another tool in place of a model: give the base's, then the candidate's."),
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="With --from: the device that served, for its price.")] = None,
    count: Annotated[int, typer.Option(min=1, help="With --hardware: how many of them.")] = 1,
    export: Annotated[
        Path | None, typer.Option(help="File to write with all loads and their requests, in GuideLLM's form.")
    ] = None,
    store: StoreDir = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a checkpoint is served; with --from compare what another tool measured of two."""
    from whichbits.cli.tables import print_results

    if from_:
        if model is not None or workload or url is not None or concurrency or rate is not None or export:
            raise UserError(
                "from: nothing is measured where results are imported",
                remedy="leave out MODEL, --workload, --url, --concurrency, --rate and --export",
            )
        _compare(from_, hardware, count, store, as_json=as_json)
        return
    if model is None or not workload:
        missing = "model" if model is None else "workload"
        raise UserError(f"{missing}: none is given", remedy="name a MODEL and a --workload, or results with --from twice")
    if hardware is not None:
        raise UserError("hardware: it is of imported results", remedy="leave it out, or give --from twice")
    rows = whichbits.bench(
        model, workload, url=url, served_model_name=served_model_name, concurrency=concurrency, rate=rate, rounds=rounds,
        store=store, seed=seed, fresh=fresh, export=export,
    )  # fmt: skip
    print_results(rows, as_json, _row)


def _compare(results: list[Path], hardware: str | None, count: int, store: Path | None, *, as_json: bool) -> None:
    """The verdict on what another tool measured."""
    from whichbits.cli.tables import console, print_json

    if len(results) != 2:
        raise UserError(f"from: {len(results)} results are given", remedy="give --from twice: the base's, then the candidate's")
    outcome = whichbits.bench_from(results[0], results[1], hardware=hardware, count=count, store=store)
    if as_json:
        print_json(outcome.verdict)
    else:
        from whichbits.cli.tables import print_rows
        from whichbits.reporting.terminal import summary

        print_rows(list(_ratios(outcome.verdict)))
        summary(outcome.verdict, console(), report=outcome.report)


def _ratios(verdict: Verdict) -> Iterator[Row]:
    """The means of the metrics that tables have, base and candidate, a row a load."""
    from whichbits.reporting.numbers import times

    brief = {metric.key: metric for metric in verdict.metrics if metric.brief}
    base = {
        (one.load_level, one.metric): one.estimate.value
        for one in verdict.speed
        if one.candidate == verdict.base and one.percentile is None
    }
    for one in verdict.speed:
        if one.candidate != verdict.base and one.percentile is None and one.metric in brief:
            unit = brief[one.metric].unit
            yield {
                "load": one.load_level,
                "metric": f"{brief[one.metric].title}{f', {unit}' if unit else ''}",
                verdict.base: base.get((one.load_level, one.metric)),
                one.candidate: one.estimate.value,
                "candidate / base": None if one.ratio is None else times(one.ratio),
                "rounds": one.rounds,
                "valid": "yes" if one.valid else "no",
            }


def _row(load: MeasuredLoad) -> Row:
    return {
        "workload": load.workload,
        "round": load.round,
        "load": load.load,
        **{name: value for metric in load.described if metric.brief for name, value in _columns(metric, load.metrics)},
        "valid": "yes" if load.valid else f"no: {'; '.join(load.reasons)}",
        "weights": load.weights,
    }


def _columns(metric: ServingMetric, metrics: Metrics) -> Iterator[tuple[str, float | None]]:
    """A metric by its key, and of one of requests the mean and the highest percentile: `ttft_s`, `ttft_p99_s`."""
    yield metric.key.replace("_per_second", "_per_s"), metrics.mean(metric.key)
    if metric.per == "request":
        unit = f"_{metric.unit}"
        stem = metric.key.removesuffix(unit)
        yield f"{stem}_p99{unit if stem != metric.key else ''}", metrics.percentile(metric.key, "99")


def prefill_decode(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    prompt_tokens: Annotated[list[int], typer.Option(help="Length of the prompts; repeatable.")],
    context_tokens: Annotated[
        list[int] | None, typer.Option(help="Prompt and output so far in decode; repeatable. Default: the prompts' lengths.")
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="Requests sent at once; repeatable. Default: 1, 4, 16.")] = None,
    url: Annotated[str | None, typer.Option(help="Address that serves the model already; default: start a server.")] = None,
    served_model_name: ServedName = None,
    rounds: Annotated[int, typer.Option(help="How often all is measured.")] = 1,
    store: StoreDir = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Measure prefill and decode apart, by size of the batch and length."""
    from whichbits.cli.tables import print_results

    rows = whichbits.prefill_decode(
        model, prompt_tokens=prompt_tokens, context_tokens=context_tokens, batch_size=batch_size, url=url,
        served_model_name=served_model_name, rounds=rounds, store=store, seed=seed, fresh=fresh,
    )  # fmt: skip
    print_results(rows, as_json, _batch_row)


def _batch_row(one: MeasuredBatch) -> Row:
    return {
        "phase": one.phase,
        "tokens": one.tokens,
        "batch": one.batch_size,
        "round": one.round,
        "seconds": one.seconds,
        "tokens_per_s": one.tokens_per_second,
        "valid": "yes" if one.valid else f"no: {'; '.join(one.reasons)}",
    }
