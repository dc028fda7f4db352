"""The command `bench`: how fast a checkpoint is served, a row a load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import whichbits
from whichbits.cli.options import AsJson, Fresh, Seed, ServedName, StoreDir

if TYPE_CHECKING:
    from whichbits.api.bench import MeasuredLoad
    from whichbits.cli.tables import Row
    from whichbits.schema.serve import Distribution


def bench(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    workload: Annotated[list[str], typer.Option("--workload", help="Workload by name, or PROMPT/OUTPUT tokens; repeatable.")],
    url: Annotated[str | None, typer.Option(help="Address that serves the model already; default: start a server.")] = None,
    served_model_name: ServedName = None,
    concurrency: Annotated[
        list[int] | None, typer.Option(help="Requests in flight, in place of the workload's loads; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Poisson arrivals a second, in place of the workload's loads.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each workload is measured.")] = 1,
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
    metrics = load.metrics
    return {
        "workload": load.workload,
        "round": load.round,
        "load": load.load,
        "requests_per_s": metrics.requests_per_second,
        "output_tokens_per_s": metrics.output_tokens_per_second,
        "latency_s": _mean(metrics.latency_s),
        "latency_p99_s": _percentile(metrics.latency_s, "99"),
        "ttft_s": _mean(metrics.ttft_s),
        "ttft_p99_s": _percentile(metrics.ttft_s, "99"),
        "itl_s": _mean(metrics.itl_s),
        "itl_p99_s": _percentile(metrics.itl_s, "99"),
        "valid": "yes" if load.valid else f"no: {'; '.join(load.reasons)}",
        "weights": load.weights,
    }


def _mean(found: Distribution | None) -> float | None:
    return None if found is None else found.mean


def _percentile(found: Distribution | None, at: str) -> float | None:
    """None where the sample is too small for it."""
    percentile = None if found is None else found.percentiles[at]
    return None if percentile is None else percentile.value
