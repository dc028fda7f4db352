"""The command `bench`: how fast a checkpoint is served, a row a load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

import whichbits
from whichbits.cli.options import AsJson, Fresh, Seed, ServedName, StoreDir

if TYPE_CHECKING:
    from whichbits.api.bench import MeasuredLoad
    from whichbits.cli.tables import Row
    from whichbits.schema.metrics import ServingMetric
    from whichbits.schema.serve import Metrics


def bench(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    workload: Annotated[
        list[str],
        typer.Option("--workload", help="Workload by name (rag, ...; docs/serving.md), or PROMPT/OUTPUT tokens; repeatable."),
    ],
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
    store: StoreDir = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a checkpoint is served."""
    from whichbits.cli.tables import print_results

    rows = whichbits.bench(
        model, workload, url=url, served_model_name=served_model_name, concurrency=concurrency, rate=rate, rounds=rounds,
        store=store, seed=seed, fresh=fresh,
    )  # fmt: skip
    print_results(rows, as_json, _row)


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
