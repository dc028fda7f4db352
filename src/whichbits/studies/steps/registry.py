"""Cell kinds and the functions of the rooms that they run. With `expand`, the only place where the rooms meet.

Each function takes jobs of its kind and yields each with its result. A kind's version is raised by hand whenever its source
changes in a way that can change a result; `tests/studies/steps/test_registry.py` fails when it was not.
"""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.studies.execution.local import Desk, Function, Job, Result, ServerFailed
from whichbits.studies.steps.served import (
    BATCH_TOKENS,
    agreement_of,
    api_key,
    checkpoint_of,
    custom_code,
    model_of,
    planned_server,
    references,
    served_by,
    served_weights,
    server_of,
    threads,
    token_counts,
)

if TYPE_CHECKING:
    from whichbits.engines.http.identity import EngineIdentity
    from whichbits.engines.served_weights import Agreement
    from whichbits.serving.result import RungResult
    from whichbits.serving.workload import Workload

VERSIONS: Mapping[str, int] = {
    "quantize": 7,
    "probe": 2,
    "evaluate": 2,
    "generate": 2,
    "compare": 2,
    "distribution": 2,
    "serve": 2,
}

ROOMS: Mapping[str, tuple[str, ...]] = {
    "quantize": ("core", "formats", "models", "quantization"),
    "probe": ("engines",),
    "evaluate": ("accuracy", "core", "engines", "models"),
    "generate": ("core", "engines", "models", "similarity"),
    "compare": ("similarity",),
    "distribution": ("core", "engines", "models", "similarity"),
    "serve": ("engines", "serving"),
}
"""Rooms whose source can change the result of a kind."""

PRELOAD = (
    "whichbits.studies.steps.registry",
    "pyarrow.parquet",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "compressed_tensors",
    "lm_eval.evaluator",
    "sentence_transformers",
    "bert_score",
    "whichbits.accuracy.adapter",
    "whichbits.engines.emulation.model",
    "whichbits.quantization.passes.direct",
)
"""What the process that jobs are forked from imports once for all of them: importing takes longer than most cells."""


def engine_versions() -> dict[str, str]:
    """Versions of the libraries that emulation computes with."""
    return {name: metadata.version(name) for name in ("torch", "transformers", "compressed-tensors")}


def write_items(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `items.parquet`: one row an item, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), folder / "items.parquet")


def read_items(folder: Path) -> list[dict[str, Any]]:
    """Rows of a cell's `items.parquet`."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(folder / "items.parquet").to_pylist()
    return rows


def _provenance(job: Job, **more: Any) -> dict[str, Any]:
    """Where and with what a cell ran."""
    return {
        "whichbits": metadata.version("whichbits"),
        "python": platform.python_version(),
        "cpus": sorted(job.cpus) if job.cpus is not None else None,
        **more,
    }


def _stated(field: str, value: Agreement | EngineIdentity | None) -> dict[str, Any]:
    """A field of a summary or provenance; none where there is nothing to state."""
    return {} if value is None else {field: asdict(value)}


def quantize(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Make a checkpoint of a format."""
    import torch

    from whichbits.formats.format import Format
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Recipe

    for job in jobs:
        torch.set_num_threads(threads(job))
        inputs = job.cell.inputs
        manifest, errors = quantize_checkpoint(
            Path(job.cell.places["base"]),
            Format.model_validate(inputs["format"]),
            Recipe.model_validate(inputs["recipe"]),
            job.directory / "checkpoint",
            base_files=inputs["base"],
            on_progress=lambda done, total: desk.progress(f"{done} of {total} modules"),
            allow_custom_code=custom_code(job),
        )
        write_items(job.directory, [error.model_dump() for error in errors])
        summary = {
            "bytes": manifest.bytes,
            "bits_per_weight": manifest.bits_per_weight,
            "weights": manifest.weights,
            "files": manifest.files,
        }
        yield job, Result(summary, _provenance(job, versions=manifest.versions, seed=inputs["recipe"]["seed"]))


def evaluate(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Score a checkpoint on a task, item by item."""
    from whichbits.accuracy.harness import evaluate as evaluate_task
    from whichbits.accuracy.task import Task

    for job in jobs:
        inputs = job.cell.inputs
        data_dir = job.cell.places.get("data_dir")
        with ExitStack() as stack:
            model = model_of(job, desk, stack)
            weights = served_weights(job, model)
            result = evaluate_task(
                Task.model_validate({**inputs["task"], "source": job.cell.places.get("jsonl", inputs["task"]["source"])}),
                model,
                Path(job.cell.places["tokenizer"]),
                limit=inputs["limit"],
                seed=inputs["seed"],
                data_dir=Path(data_dir) if data_dir else None,
                allow_custom_code=custom_code(job),
            )
        write_items(job.directory, result.rows())
        summary = {**result.summary, "concurrency": inputs["engine"].get("concurrency"), **_stated("weights", weights)}
        counts = token_counts(model)
        more = {"seed": inputs["seed"], "token_counts": counts, **_stated("server", served_by(job, desk))}
        yield job, Result(summary, _provenance(job, engine=inputs["engine"], **more))


def generate(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Generate greedy answers to prompts."""
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.generate import generate_texts
    from whichbits.similarity.prompts import Prompt

    for job in jobs:
        inputs = job.cell.inputs
        tokenizer = load_tokenizer(job.cell.places["tokenizer"], allow_custom_code=custom_code(job))
        prompts = [Prompt.model_validate(prompt) for prompt in inputs["prompts"]]
        with ExitStack() as stack:
            model = model_of(job, desk, stack)
            weights = served_weights(job, model)
            texts = generate_texts(model, tokenizer, prompts, max_tokens=inputs["max_tokens"])
        write_items(job.directory, [asdict(text) for text in texts])
        summary = {"n": len(texts), "tokens": sum(text.tokens for text in texts), **_stated("weights", weights)}
        counts, served = token_counts(model), _stated("server", served_by(job, desk))
        yield job, Result(summary, _provenance(job, engine=inputs["engine"], token_counts=counts, **served))


def compare(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Compare a candidate's texts with the base's."""
    import torch

    from whichbits.similarity.generate import GeneratedText
    from whichbits.similarity.scorers import Encoders, bertscore, embedded_encoders, sentence_similarity
    from whichbits.similarity.texts import compare_texts, summarise

    for job in jobs:
        torch.set_num_threads(threads(job))
        wanted = job.cell.inputs["encoders"]
        embedded = embedded_encoders() if None in (wanted["bertscore"], wanted["sts"]) else None
        encoders = Encoders(
            bertscore=wanted["bertscore"] or (embedded.bertscore if embedded else ""),
            sts=wanted["sts"] or (embedded.sts if embedded else ""),
            bertscore_layers=None if wanted["bertscore"] else (embedded.bertscore_layers if embedded else None),
        )
        base, candidate = ([GeneratedText(**row) for row in read_items(job.reads[role])] for role in ("base", "candidate"))
        rows = compare_texts(base, candidate, bertscore=bertscore(encoders), sts=sentence_similarity(encoders))
        write_items(job.directory, [asdict(row) for row in rows])
        yield job, Result(summarise(rows), _provenance(job, encoders=wanted))


def distribution(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Compare a candidate's next-token distributions with the base's, both in transformers."""
    from whichbits.engines.emulation.model import Emulated
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.distributions import compare_distributions, summarise
    from whichbits.similarity.windows import token_windows

    for job in jobs:
        inputs = job.cell.inputs
        tokenizer = load_tokenizer(job.cell.places["tokenizer"], allow_custom_code=custom_code(job))
        windows = token_windows(tokenizer, job.cell.places["documents"], inputs["window_tokens"])
        # Windows from all over the text, whatever their number.
        chosen = windows[:: max(1, len(windows) // inputs["windows"])][: inputs["windows"]]
        base, candidate = (
            Emulated(
                checkpoint_of(job, role),
                threads=threads(job),
                batch_tokens=BATCH_TOKENS,
                allow_custom_code=custom_code(job),
            )
            for role in ("base", "checkpoint")
        )
        rows = []
        for row in compare_distributions(chosen, base.logits, candidate.logits):
            rows.append(row)
            desk.progress(f"{len(rows)} of {len(chosen)} windows")
        write_items(job.directory, [asdict(row) for row in rows])
        yield job, Result(summarise(rows), _provenance(job, engine=inputs["engine"]))


def probe(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result]]:
    """Ask the engine which kernel it has for a format, on a tiny checkpoint of it."""
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.probe import probe as probe_format
    from whichbits.hardware.machine import describe

    for job in jobs:
        inputs = job.cell.inputs
        engine = inputs["engine"]
        checkpoint = _tiny_checkpoint(job)
        found = probe_format(
            EngineCommand(tuple(job.cell.places["command"]), engine["version"], " ".join(job.cell.places["command"])),
            inputs["format"]["name"],
            checkpoint,
            arguments=engine["arguments"],
            environment=engine["environment"],
            hardware=describe(),
            log=job.directory / "engine.txt",
            cpus=job.cpus,
        )
        yield job, Result(asdict(found), _provenance(job, engine=engine))


def _tiny_checkpoint(job: Job) -> Path:
    """A random two-layer Llama of the format, wide enough for its groups."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from whichbits.formats.format import Format
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Calibration, Recipe

    inputs = job.cell.inputs
    base = job.directory / "base"
    tokenizer = AutoTokenizer.from_pretrained(job.cell.places["tokenizer"], trust_remote_code=custom_code(job))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    dtype = getattr(torch, inputs["dtype"])
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.to(dtype).save_pretrained(base)
    tokenizer.save_pretrained(base)
    format = Format.model_validate(inputs["format"])
    if format.is_base:
        return base
    # Only formats with scales of activations found on data look at the calibration.
    few = Calibration(source="random", samples=1, length=16)
    recipe = Recipe(scales="minmax", group_size=inputs["group_size"], calibration=few)
    quantize_checkpoint(base, format, recipe, job.directory / "checkpoint")
    return job.directory / "checkpoint"


def serve(jobs: Sequence[Job], desk: Desk) -> Iterator[tuple[Job, Result | Exception]]:
    """Measure speeds in one sitting: round by round, the candidates of a round one after another, the base among them.

    The first round of a workload settles the loads of an `auto` ladder for all that follow. A cell holds the base's
    measurement of its own round too, so that their ratio is taken within the sitting. What fails for one candidate leaves the
    others' measurements as they are.
    """
    from whichbits.serving.session import fixed, measure_round, order
    from whichbits.serving.workload import Workload

    sitting = uuid.uuid4().hex[:12]
    rounds: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        rounds.setdefault((job.cell.labels["repeat"], job.cell.labels["workload"]), []).append(job)
    workloads: dict[str, Workload] = {}
    planned: dict[str, EngineIdentity | None] = {}
    for job in jobs:
        servers = job.cell.inputs["servers"]
        planned[job.cell.places["base"]] = planned_server(servers.get("base"))
        planned[job.cell.labels["candidate"]] = planned_server(servers.get("server"))
    who: dict[str, EngineIdentity] = {}
    expected = references(jobs)
    weights: dict[str, Agreement] = {}
    for (repeat, workload_name), group in rounds.items():
        first = group[0]
        asked = {name for job in group for name in (job.cell.places["base"], job.cell.labels["candidate"])}
        names = order(sorted(asked), seed=first.cell.inputs["seed"] - int(repeat), repeat=int(repeat))
        workload = workloads.get(workload_name) or Workload.model_validate(first.cell.inputs["workload"])

        def of_round(name: str, workload: Workload, at_least: int, job: Job = first) -> list[RungResult] | Exception:
            desk.progress(f"round {int(job.cell.labels['repeat']) + 1}: {name}")
            return _measured(name, job, desk, workload, at_least, planned, who)

        measured = measure_round(names, workload, of_round)
        for name in names:
            if name in expected and name not in weights and not isinstance(measured[name], Exception):
                weights[name] = agreement_of(who[name], first, expected[name])
        workloads[workload_name] = fixed(workload, measured)
        for job in group:
            yield job, _paired(job, measured, sitting, names, who, weights)


def _measured(
    name: str,
    job: Job,
    desk: Desk,
    workload: Workload,
    at_least: int,
    planned: Mapping[str, EngineIdentity | None],
    who: dict[str, EngineIdentity],
) -> list[RungResult] | Exception:
    """Rungs of one candidate, or why there are none; `who` is told who served it, which must be who is `planned`."""
    from whichbits.core.errors import UserError
    from whichbits.engines.errors import EngineError
    from whichbits.serving.measure import measure, no_answer

    inputs = job.cell.inputs
    try:
        url = desk.server(name)
        who[name] = server_of(name, url, job, planned[name])
        results = measure(
            url,
            who[name].model,
            Path(job.cell.places["tokenizer"]),
            workload,
            seed=inputs["seed"],
            cpus=set(job.cpus) if job.cpus is not None else None,
            at_least=at_least,
            api_key=api_key(job),
        )
        words = no_answer(results)
        return results if words is None else ServerFailed(f"{name} was not measured: {words}")
    except EngineError as error:
        return ServerFailed(f"{name} was not measured: {error}")
    except (ServerFailed, UserError, OSError) as error:
        return error


def _paired(
    job: Job,
    measured: Mapping[str, list[RungResult] | Exception],
    sitting: str,
    order: Sequence[str],
    who: Mapping[str, EngineIdentity],
    weights: Mapping[str, Agreement],
) -> Result | Exception:
    """A cell's result: its candidate's rungs beside the base's of the same round, and the order in which all were measured."""
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {"sitting": sitting, "order": list(order)}
    for role, name, field in (
        ("base", job.cell.places["base"], "base_rungs"),
        ("candidate", job.cell.labels["candidate"], "rungs"),
    ):
        results = measured[name]
        if isinstance(results, Exception):
            return results
        summary[field] = [rung.summary() for rung in results]
        for rung in results:
            rows += [{"role": role, "rung": rung.rung, "concurrency": rung.concurrency, **asdict(row)} for row in rung.rows]
    write_items(job.directory, rows)
    if weights:
        roles = {"base": job.cell.places["base"], "candidate": job.cell.labels["candidate"]}
        summary["weights"] = {role: asdict(weights[name]) for role, name in roles.items()}
    inputs = job.cell.inputs
    servers = {"candidate": who[job.cell.labels["candidate"]].fields(), "base": who[job.cell.places["base"]].fields()}
    provenance = _provenance(job, engine=inputs["engine"], sitting=sitting, seed=inputs["seed"], servers=servers)
    return Result(summary, {**provenance, "measured_at": time.time()})


FUNCTIONS: Mapping[str, Function] = {
    "quantize": quantize,
    "probe": probe,
    "evaluate": evaluate,
    "generate": generate,
    "compare": compare,
    "distribution": distribution,
    "serve": serve,
}
