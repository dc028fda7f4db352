"""The figures of a benchmark as a page of Markdown: every candidate beside the run that it is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from runs import RUNS, Run, named
from scipy import stats
from work import Work

RESAMPLES = 10_000

PREFACE = """\
# Quantizers beside each other

Made by `python benchmarks/quantizers table`; the commands before it are in `benchmarks/quantizers/__main__.py`. Every tool
quantizes the same base, calibrated on the same token ids. One judge runs all checkpoints in the same arithmetic
(weights decompressed, activations quantized as the kernels do it, float32 between) on windows that no tool has seen.

- **KL** is KL(base ‖ candidate) over the whole vocabulary, in nats a token, with the 95 % interval over windows (Student's t).
  The ratio to the run that a row is measured against has the interval of a paired bootstrap over windows.
- **top-1** is the share of positions where base and candidate have the same most likely token; **ppl** is the candidate's
  perplexity. **MB** is the size of the weight files.
- **CPU**, wall clock and memory are those of the whole process, from its start and imports to the written checkpoint; memory is
  the highest sum of anonymous pages seen, looking every 20 ms.
- *against* names the row whose figures the ratios divide by.

Other tools' environments are made by `benchmarks/quantizers/environments`. `benchmarks/quantizers/gpu`, the first 8 of 32
layers of an 8B-shaped random Llama beside llm-compressor on one card, has not been run: no GPU was at hand.
"""


def table(works: Sequence[Work]) -> str:
    """The whole page of what is there, work by work."""
    return "\n".join([PREFACE, _about(works), *(part for work in works for part in _calibrated(work))])


def _calibrated(work: Work) -> Iterator[str]:
    """What was made of one model on one calibration: by judge and format, and what was not judged."""
    models = sorted({cost["model"] for run in RUNS if (cost := work.measurement(run))})
    yield f"## `{'`, `'.join(models)}`, calibrated on {work.calibration}\n"
    for judge in sorted(work.judges(), key=lambda name: (name != "held-out", name)):
        rows = [(run, format) for run in RUNS for format in run.formats if work.judgement(run, format, judge)]
        described = work.judgement(*rows[0], judge)
        yield (
            f"### Judge: {judge}\n\n{described['windows']} windows of {described['length']} tokens of `{described['text']}` "
            f"({described['part']}); perplexity of the base {_perplexity(described['base_nll']):.2f}.\n"
        )
        yield from (section(work, format, judge) for format in dict.fromkeys(format for _, format in rows))
    yield from filter(None, [_costs(work)])


def section(work: Work, format: str, judge: str) -> str:
    """The rows of one format."""
    lines = [
        f"#### {format}\n",
        "| tool | how | KL | top-1 | ppl | MB | CPU s (wall) | peak MB | against | KL ratio | CPU ratio | memory ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(work, run, format, judge) for run in RUNS if format in run.formats and work.judgement(run, format, judge)]
    return "\n".join(lines) + "\n"


def _row(work: Work, run: Run, format: str, judge: str) -> str:
    figures, cost = work.judgement(run, format, judge), work.measurement(run)
    rival = named(run.rivals.get(format, run.name))
    theirs, their_cost = work.judgement(rival, format, judge), work.measurement(rival)
    mean, half = interval(figures["kl"])
    cells = [
        run.tool, run.what, f"{mean:.4f} ± {half:.4f}", f"{np.mean(figures['agreement']):.3f}",
        f"{_perplexity(figures['nll']):.2f}", f"{cost['bytes'][format] / 1e6:.0f}",
        f"{cost['cpu_s']:.0f} ({cost['wall_s']:.0f})",
        f"{cost['peak_anonymous_bytes'] / 1e6:.0f}", rival.what if rival != run else "",
    ]  # fmt: skip
    if theirs is None or rival == run:
        return f"| {' | '.join(cells)} | | | |"
    low, middle, high = ratio(figures["kl"], theirs["kl"])
    cells += [f"**{middle:.2f}** [{low:.2f}, {high:.2f}]", _cost_ratio(cost, their_cost, "cpu_s")]
    return f"| {' | '.join([*cells, _cost_ratio(cost, their_cost, 'peak_anonymous_bytes')])} |"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean over windows and half the width of its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of the means over the same windows: lower end, ratio, upper end of its 95 % interval (paired bootstrap)."""
    pairs = np.array([ours, theirs])
    drawn = pairs[:, np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))].mean(-1)
    low, high = np.quantile(drawn[0] / drawn[1], (0.025, 0.975))
    return float(low), float(np.mean(ours) / np.mean(theirs)), float(high)


def _cost_ratio(cost: dict[str, Any], theirs: dict[str, Any], what: str) -> str:
    return f"{cost[what] / theirs[what]:.2f}"


def _perplexity(nll: Sequence[float]) -> float:
    return float(np.exp(np.mean(nll)))


def _costs(work: Work) -> str:
    """Runs that make several formats at once, and those that were not judged, beside what they are measured against."""
    lines = [
        "### Cost alone\n",
        "| tool | formats | how | CPU s | wall s | peak MB | against | CPU ratio | wall ratio | memory ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run, cost in ((run, cost) for run in RUNS if (cost := work.measurement(run))):
        if len(run.formats) == 1 and any(work.judgement(run, run.formats[0], judge) for judge in work.judges()):
            continue
        begin = (
            f"| {run.tool} | {', '.join(run.formats)} | {run.what} | {cost['cpu_s']:.0f} | {cost['wall_s']:.0f} "
            f"| {cost['peak_anonymous_bytes'] / 1e6:.0f}"
        )
        rivals = [named(name) for name in dict.fromkeys(run.rivals.values()) if work.measurement(named(name))]
        lines += [begin + " | | | | |"] if not rivals else []
        for rival in rivals:
            ratios = [_cost_ratio(cost, work.measurement(rival), what) for what in ("cpu_s", "wall_s", "peak_anonymous_bytes")]
            lines.append(f"{begin} | {rival.tool}: {rival.formats[0]}, {rival.what} | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n" if len(lines) > 3 else ""


def _about(works: Sequence[Work]) -> str:
    """What the runs were made with."""
    made = [(run, cost) for work in works for run in RUNS if (cost := work.measurement(run))]
    lines = [
        *sorted({f"- Base: `{cost['model']}`." for _, cost in made}),
        *sorted({f"- {run.tool} {cost['version']}." for run, cost in made}),
        *sorted({f"- {cost['cpu']}, {cost['threads']} thread(s); its other cores may have been at work." for _, cost in made}),
    ]
    missing = [run.name for run in RUNS if not works[0].measurement(run)]
    return "\n".join(lines + ([f"- Not run: {', '.join(missing)}."] if missing else [])) + "\n"
