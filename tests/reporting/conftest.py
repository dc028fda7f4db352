"""A hand-written study with everything a report must be able to show, and a browser to look at it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from whichbits.reporting.context import Engine, Price, ReportContext, StepEntry, TextPair
from whichbits.schema.compare import CompareSummary
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.schema.probe import ProbeSummary
from whichbits.schema.serve import ServeSummary
from whichbits.serving.metrics.registry import all_metrics
from whichbits.similarity.measures.registry import MEASURES
from whichbits.verdict.caveat_codes import EmulatedAccuracy, Remark
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.reasons import (
    AgainstBase,
    Bounded,
    Failure,
    IsBase,
    NearChance,
    RoundInvalid,
    StepsFailed,
    TaskNearChance,
    WouldWin,
)
from whichbits.verdict.verdict import (
    CostFinding,
    Decision,
    EmulationError,
    Extension,
    Recommendation,
    SimilarityFinding,
    SizeFinding,
    SpeedFinding,
    SuiteRecovery,
    TaskRecovery,
    Verdict,
)


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def about(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


FAILURE = Failure(
    kind="quantize", labels={"candidate": "fp8-block"}, state="failed", error="width 576 is not a multiple of 128"
)
# candidate: (format, provenance of its accuracy, suite recovery, half-width, bytes, ratio of sync and async speed)
CANDIDATES = {
    "w8a8-int": ("w8a8-int", "measured", 99.3, 1.4, 163_400_000, 1.42, 1.61),
    "w4a16-int": ("w4a16-int", "measured", 91.2, 2.1, 112_900_000, 1.18, 0.93),
    "w4a16-int-mse": ("w4a16-int", "measured", 97.4, 1.9, 112_900_000, 1.17, 0.94),
    "w8a8-fp": ("w8a8-fp", "emulated", 99.0, 1.5, 163_400_000, None, None),
    "w4a8-int": ("w4a8-int", "emulated", 88.7, 2.4, 112_900_000, None, None),
}
STATES = {
    "w8a8-int": "non-inferior",
    "w4a16-int": "inferior",
    "w4a16-int-mse": "inconclusive",
    "w8a8-fp": "inconclusive",
    "w4a8-int": "inferior",
}
# task: (items, chance, base score, half-width of the recovery, shift of this task's recovery)
TASKS = {
    "key-value-recall": (2000, 0.0, 0.713, 2.2, 0.4),
    "needle-in-a-haystack": (2000, 0.0, 0.884, 1.8, -0.6),
    "order": (2400, 0.25, 0.562, 4.1, 1.3),
    "choice": (3000, 0.25, 0.641, 3.0, -0.9),
}
LOAD_LEVELS = {"synchronous": 1.0, "concurrency 4": 2.9, "concurrency 16": 6.1}


def task_findings() -> list[TaskRecovery]:
    found = []
    for task, (items, chance, base, half, shift) in TASKS.items():
        for name, (_, provenance, recovery, *_rest) in CANDIDATES.items():
            score = chance + (base - chance) * (recovery + shift) / 100
            found.append(
                TaskRecovery(
                    candidate=name, task=task, engine="vllm" if provenance == "measured" else "emulated",
                    provenance=provenance, items=items, chance=chance, base_score=base, score=score,
                    difference=about(score - base, half * (base - chance) / 100), recovery=about(recovery + shift, half),
                    excluded=None, flips=0.021 + (100 - recovery) / 150, smallest_difference=half * (base - chance) / 100,
                    steps=(key(f"evaluate bf16 {task}"), key(f"evaluate {name} {task}")),
                )
            )  # fmt: skip
    found += [
        TaskRecovery(
            candidate=name, task="humaneval", engine="vllm", provenance="measured", items=164, chance=0.0, base_score=0.037,
            score=0.031, difference=about(-0.006, 0.022), recovery=None,
            excluded=NearChance(tasks=(TaskNearChance(task="humaneval", above_chance=0.037),), required=0.05), flips=0.018,
            smallest_difference=0.022,
            steps=(key("evaluate bf16 humaneval"), key(f"evaluate {name} humaneval")),
        )
        for name in ("w8a8-int", "w4a16-int")
    ]  # fmt: skip
    return found


def speed_findings() -> list[SpeedFinding]:
    found = []
    metrics = (
        ("requests_per_second", None), ("output_tokens_per_second", None), ("latency_s", None), ("ttft_s", None),
        ("ttft_s", 95.0), ("tpot_s", None),
    )  # fmt: skip
    for load_level, load in LOAD_LEVELS.items():
        for metric, percentile in metrics:
            base = {
                "requests_per_second": 0.61 * load, "output_tokens_per_second": 19.6 * load,
                "latency_s": 1.63 * (1 + load / 5), "ttft_s": 0.121 * load ** 1.3, "tpot_s": 0.048 * (0.8 + load / 5),
            }[metric] * (1.4 if percentile else 1)  # fmt: skip
            for name in ("bf16", "w8a8-int", "w4a16-int", "w4a16-int-mse"):
                faster = 1.0 if name == "bf16" else CANDIDATES[name][5 if load_level == "synchronous" else 6]
                ratio = 1 / faster if metric.endswith("_s") else faster
                valid = not (load_level == "concurrency 16" and name == "w4a16-int")
                found.append(
                    SpeedFinding(
                        candidate=name, workload="demo-chat", deployment="cpu, 2 cores", load_level=load_level, metric=metric,
                        percentile=percentile, estimate=about(base * ratio, base * ratio * 0.04),
                        ratio=None if name == "bf16" else about(ratio, 0.031), valid=valid,
                        reasons=() if valid else (RoundInvalid(round=1, reason="client saturated: 97 % of a core"),),
                        steps=(key(f"serve {name} 1"), key(f"serve {name} 2")),
                    )
                )  # fmt: skip
    return found


def cost_findings() -> list[CostFinding]:
    return [
        CostFinding(
            candidate=name, workload="demo-chat", deployment="cpu, 2 cores", mode=mode, load_level=load_level,
            cost_reduction=about(CANDIDATES[name][column], 0.035),
            queries_per_dollar=about(base * CANDIDATES[name][column], 900),
            price_per_hour=0.096, price_source="price list", valid=(mode, name) != ("asynchronous", "w4a16-int"),
            steps=(key(f"serve {name} 1"), key(f"serve {name} 2")),
        )
        for mode, load_level, column, base in (
            ("synchronous", "synchronous", 5, 22_900), ("asynchronous", "concurrency 16", 6, 139_500),
        )
        for name in ("w8a8-int", "w4a16-int", "w4a16-int-mse")
    ]  # fmt: skip


def similarity_findings() -> list[SimilarityFinding]:
    values = {
        "rouge1": (0.83, 0.02), "rougeL": (0.79, 0.02), "sts": (0.951, 0.006), "kl": (0.0041, 0.0004),
        "top1_agreement": (0.962, 0.003), "length_ratio": (1.02, 0.04),
    }  # fmt: skip
    found = []
    for measure, (value, half) in values.items():
        for i, (name, (_, provenance, *_rest)) in enumerate(CANDIDATES.items()):
            worse = value * (1 + 2.2 * i) if measure == "kl" else value - half * 1.6 * i
            found.append(
                SimilarityFinding(
                    candidate=name, engine="vllm", provenance=provenance, measure=measure, items=128,
                    estimate=about(worse, half), steps=(key(f"compare {name}"),),
                )
            )  # fmt: skip
    return found


CODES = {"non-inferior": "non_inferior", "inferior": "inferior", "inconclusive": "interval_holds_bound"}


def format_verdicts(suites: dict[str, SuiteRecovery]) -> list[Decision]:
    needed = {"w4a16-int-mse": 6800, "w8a8-fp": 410}
    found = [Decision(candidate="bf16", format="bf16", state="base", reason=IsBase())]
    found += [
        Decision(
            candidate=name, format=CANDIDATES[name][0], state=STATES[name],
            reason=Bounded(code=CODES[STATES[name]], bound=97.5), suite=suites[name],
            extension=Extension(tasks=("order",), items=needed[name]) if name in needed else None,
        )
        for name in CANDIDATES
    ]  # fmt: skip
    found.append(Decision(candidate="fp8-block", format="fp8-block", state="failed", reason=StepsFailed(failure=FAILURE)))
    return found


def against_base(ratio: Estimate, load: str) -> AgainstBase:
    return AgainstBase(candidate="w8a8-int", ratio=ratio, load=load, base_load=load)


@pytest.fixture
def verdict() -> Verdict:
    suites = {
        name: SuiteRecovery(
            candidate=name, engine="vllm" if provenance == "measured" else "emulated", provenance=provenance, items=9400,
            tasks=tuple(TASKS), recovery=about(recovery, half), smallest_difference=half, flips=0.021 + (100 - recovery) / 150,
            noise_floor_flips=0.004 if provenance == "measured" else None,
            steps=tuple(key(f"evaluate {who} {task}") for who in ("bf16", name) for task in TASKS),
        )
        for name, (_, provenance, recovery, half, *_rest) in CANDIDATES.items()
    }  # fmt: skip
    sizes = [SizeFinding(candidate="bf16", bytes=269_060_552, ratio=1.0, bits_per_weight=16.0, steps=(key("quantize bf16"),))]
    sizes += [
        SizeFinding(
            candidate=name, bytes=size, ratio=size / 269_060_552, bits_per_weight=8 * size / 134_515_008,
            steps=(key(f"quantize {name}"),),
        )
        for name, (_, _, _, _, size, *_rest) in CANDIDATES.items()
    ]  # fmt: skip
    return Verdict(
        measures=tuple(MEASURES.get(name).described for name in MEASURES.ours),
        metrics=tuple(metric.described for metric in all_metrics()),
        study="demo",
        model="SmolLM2-135M-Instruct",
        base="bf16",
        margin=0.025,
        caveats=(
            Remark(text="The weights were dequantized from Q4_1, so 4-bit formats start from values already on a 4-bit grid."),
            EmulatedAccuracy(candidates=("w8a8-fp", "w4a8-int")),
        ),
        formats=tuple(format_verdicts(suites)),
        recommendations=(
            Recommendation(
                workload="demo-chat", deployment="cpu, 2 cores", mode="synchronous", candidate="w8a8-int", code="fastest",
                load="synchronous", compared=against_base(about(1.42, 0.035), "synchronous"), advantage=about(1.42, 0.035),
                runner_up="bf16",
            ),
            Recommendation(
                workload="demo-chat", deployment="cpu, 2 cores", mode="asynchronous", candidate="w8a8-int", code="fastest",
                load="concurrency 16", compared=against_base(about(1.61, 0.035), "concurrency 16"),
                advantage=about(1.61, 0.035), runner_up="bf16",
                would_win_if_accepted=WouldWin(candidate="w8a8-fp", ratio=about(1.1, 0.04)),
            ),
        ),
        tasks=tuple(task_findings()),
        suites=tuple(suites.values()),
        emulation=tuple(
            EmulationError(
                candidate=name, task=task, items=TASKS[task][0], difference=about(shift, 0.004), disagreements=0.006,
                steps=(key(f"evaluate {name} {task}"), key(f"emulate {name} {task}")),
            )
            for task in ("order", "choice")
            for name, shift in (("w8a8-int", 0.001), ("w4a16-int", -0.0015))
        ),
        similarity=tuple(similarity_findings()),
        speed=tuple(speed_findings()),
        cost=tuple(cost_findings()),
        sizes=tuple(sizes),
        failures=(FAILURE,),
    )  # fmt: skip


def scored(task: str) -> EvaluateSummary:
    return EvaluateSummary(task=task, metric="acc", n=100, score=0.5)


@pytest.fixture
def context(verdict: Verdict) -> ReportContext:
    names = [f.candidate for f in verdict.formats]
    steps = [
        StepEntry(
            key=key(f"quantize {name}"), kind="quantize", labels={"candidate": name},
            state="failed" if name == "fp8-block" else "done", seconds=None if name == "fp8-block" else 6.4,
            error="width 576 is not a multiple of 128" if name == "fp8-block" else None,
            directory=f"steps/quantize/{key(f'quantize {name}')}",
        )
        for name in names
    ]  # fmt: skip
    measured = [("probe", name, f"probe {name}", ProbeSummary(status="native", kernel="DNNL")) for name in ("bf16", "w8a8-int")]
    measured.append(("probe", "w8a8-fp", "probe w8a8-fp", ProbeSummary(status="refused", reason="no FP8 kernel for this CPU")))
    alike = CompareSummary(n=128, measures=())
    session = ServeSummary(session="one", load_levels=(), base_load_levels=())
    for name in names[:-1]:
        measured += [("evaluate", name, f"evaluate {name} {task}", scored(task)) for task in (*TASKS, "humaneval")]
        measured += [("compare", name, f"compare {name}", alike)]
        measured += [("serve", name, f"serve {name} {repeat}", session) for repeat in (1, 2)]
    for name in ("w8a8-int", "w4a16-int"):
        measured += [("evaluate", name, f"emulate {name} {task}", scored(task)) for task in ("order", "choice")]
    steps += [
        StepEntry(
            key=key(name), kind=kind, labels={"candidate": candidate}, state="done", seconds=41.7, summary=summary,
            directory=f"steps/{kind}/{key(name)}",
        )
        for kind, candidate, name, summary in measured
    ]  # fmt: skip
    return ReportContext(
        study="demo",
        model="SmolLM2-135M-Instruct",
        model_notes=("The weights of this model were dequantized from Q4_1.",),
        hardware="2 cores, AVX-512 VNNI, 8 GB",
        engines=(
            Engine(
                name="vllm", version="0.32.0", arguments=("--dtype", "bfloat16", "--max-model-len", "2048"),
                environment={"VLLM_CPU_INT4_W4A8": "0", "VLLM_CPU_KVCACHE_SPACE": "1"},
            ),
            Engine(name="emulated", version="transformers 5.16.0"),
        ),
        date=datetime(2025, 3, 14, 9, 26, tzinfo=UTC),
        seeds={"study": 0, "bootstrap": 0},
        specification="version: 1\nstudy: demo\nmodel: smollm2-135m-instruct\n",
        commands=("whichbits study demo --store studies/demo",),
        steps=tuple(steps),
        seconds={"quantize": 38.4, "accuracy": 402.0, "similarity": 61.0, "serving": 318.0},
        whichbits_version="0.1.0",
        price_list="example",
        prices=(Price(hardware="cpu, 2 cores", per_hour=0.096, source="the specification", as_of="2025-03-01"),),
        texts=(
            TextPair(
                candidate="w8a8-int", prompts="built-in", item="refund-1", measure="ROUGE-1", value=0.41,
                alike="To return a parcel, ", base="print the label first.\nThen …", text="call us: 0800 <b>1</b>",
                step=key("compare w8a8-int"),
            ),
        ),
    )  # fmt: skip


@pytest.fixture
def empty_verdict(verdict: Verdict) -> Verdict:
    """A study in which every step failed."""
    nothing = dict.fromkeys(("tasks", "suites", "emulation", "similarity", "speed", "cost", "sizes", "recommendations"), ())
    others = [f.model_copy(update={"suite": None, "state": "failed", "reason": StepsFailed(failure=FAILURE), "extension": None})
              for f in verdict.formats if f.candidate != verdict.base]  # fmt: skip
    return verdict.model_copy(update=nothing | {"formats": (verdict.formats[0], *others), "caveats": ()})


class Seen(NamedTuple):
    """What the browser made of a page."""

    dom: str
    console: list[str]


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[[Path], Seen]:
    """Open a page in headless Chromium: its DOM after loading, and the lines of the console."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")

    def look(page: Path) -> Seen:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000", "--enable-logging=stderr", "--dump-dom", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Seen(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])

    return look
