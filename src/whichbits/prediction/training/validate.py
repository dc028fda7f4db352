"""The validation page: how far predictions are from measurements, seen and left out, and where they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from whichbits.prediction.model.coefficients import Coefficients, parameters
from whichbits.prediction.model.naive_roofline import naive
from whichbits.prediction.model.work import Floats
from whichbits.prediction.training.figures import GIVEN, Choices, better_rate, calibrated, coverage, fastest_format
from whichbits.prediction.training.fit import Case
from whichbits.prediction.training.folds import Fold, in_sample, pooled, ratio_errors, ratio_errors_to_16_bit, roofline_alone
from whichbits.prediction.training.measurements import Measurement
from whichbits.prediction.training.scatter import scatter
from whichbits.prediction.training.train import sources, train

SETS = (
    ("Synchronous latency", "synchronous", "latency_s", "", "s"),
    ("Highest rate, Table 6", "max", "qps", "paper", "requests/s"),
    ("Highest rate, model card", "max", "qps", "r1", "requests/s"),
    ("TPOT under load", "loaded", "tpot_s", "", "s"),
    ("TTFT under load", "loaded", "ttft_s", "", "s"),
)
"""Title, load, quantity, beginning of the source's name, unit."""
WORST = 12
MODEL, DEVICE, PAIR = "model", "device", "device and engine"


def _percent(errors: Floats) -> str:
    if not len(errors):
        return "–"
    size = np.abs(np.exp(errors) - 1)
    return f"{100 * np.median(size):.1f} / {100 * np.quantile(size, 0.9):.0f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _of(folds: Sequence[Fold], kind: str) -> list[Fold]:
    return [fold for fold in folds if fold.kind == kind]


def _worst_fold(folds: Sequence[Fold], load: str, quantity: str, source: str) -> str:
    medians = {f.name: np.median(np.abs(np.exp(e) - 1)) for f in folds if len(e := f.select(load, quantity, source))}
    if not medians:
        return "–"
    name = max(medians, key=lambda n: float(medians[n]))
    return f"{100 * medians[name]:.1f} ({name.rsplit('/', 1)[-1]})"


def _overview(seen: Fold, folds: Sequence[Fold], roofline_only: Fold) -> str:
    rows = []
    for title, load, quantity, source, _ in SETS:
        base = Fold("naive", "all", seen.cases, naive(seen.cases), seen.values)
        left = [_of(folds, kind) for kind in (MODEL, DEVICE, PAIR)]
        cells = [_percent(pooled(group, load, quantity, source)) for group in left]
        roofline = "–" if quantity == "ttft_s" else _percent(base.select(load, quantity, source))
        if len(seen.select(load, quantity, source)):
            count = str(len(seen.select(load, quantity, source)))
            inside = _percent(seen.select(load, quantity, source))
            rows.append([title, count, inside, *cells, _percent(roofline_only.select(load, quantity, source)), roofline])
    header = [
        "",
        "n",
        "in sample",
        "model left out",
        "GPU left out",
        "GPU and engine left out",
        "priors alone",
        "naive roofline",
    ]
    return _table(header, rows)


def _worst(folds: Sequence[Fold]) -> str:
    rows = []
    for title, load, quantity, source, _ in SETS:
        cells = [_worst_fold(_of(folds, kind), load, quantity, source) for kind in (MODEL, DEVICE, PAIR)]
        if any(cell != "–" for cell in cells):
            rows.append([title, *cells])
    return _table(["median, %", "worst model left out", "worst GPU left out", "worst GPU and engine left out"], rows)


_GROUPS: dict[str, Callable[[Measurement], str]] = {
    "GPU": lambda m: m.hardware.name,
    "model": lambda m: m.shape.id.rsplit("/", 1)[-1],
    "format": lambda m: m.kernel.format,
    "engine": lambda m: m.engine.name,
}


def _by_group(seen: Fold, folds: Sequence[Fold]) -> str:
    base = naive(seen.cases)
    left = {
        kind: {_row(c): e for f in _of(folds, kind) for c, e in zip(f.cases, f.errors, strict=True)} for kind in (MODEL, DEVICE)
    }
    rows = []
    for title, load, quantity, source, _ in SETS[:-1]:
        for group, name_of in _GROUPS.items():
            chosen = [
                i
                for i, c in enumerate(seen.cases)
                if c.measurement.load == load and c.measurement.quantity == quantity and c.measurement.source.startswith(source)
            ]
            for name in sorted({name_of(seen.cases[i].measurement) for i in chosen}):
                mine = [i for i in chosen if name_of(seen.cases[i].measurement) == name]
                outs = [_percent(np.array([left[kind][_row(seen.cases[i])] for i in mine])) for kind in (MODEL, DEVICE)]
                rows.append([title, group, name, str(len(mine)), _percent(seen.errors[mine]), *outs, _percent(base[mine])])
    return _table(["", "by", "", "n", "in sample", "model left out", "GPU left out", "naive roofline"], rows)


def _row(case: Case) -> tuple[object, ...]:
    m = case.measurement
    return (
        m.source,
        m.model,
        m.hardware.id,
        m.count,
        m.kernel.format,
        m.engine.name,
        m.prompt,
        m.output,
        m.concurrency,
        m.quantity,
    )


def _choices(label: str, rows: Sequence[tuple[str, Choices]]) -> str:
    header = ["", "cells", "predictor", "naive roofline", label]
    return _table(
        header,
        [[n, str(c.count), f"{100 * c.model:.0f} %", f"{100 * c.roofline:.0f} %", f"{100 * c.always:.0f} %"] for n, c in rows],
    )


def _formats(seen: Fold, folds: Sequence[Fold]) -> str:
    kinds = [("in sample", [seen]), ("model left out", _of(folds, MODEL)), ("GPU left out", _of(folds, DEVICE))]
    ratios = _table(
        ["ratio between two formats", *(name for name, _ in kinds)],
        [
            ["synchronous latency", *(_percent(ratio_errors(group, "synchronous")) for _, group in kinds)],
            ["highest rate", *(_percent(ratio_errors(group, "max")) for _, group in kinds)],
            ["to BF16, both", *(_percent(ratio_errors_to_16_bit(group)) for _, group in kinds)],
        ],
    )
    fastest = [(f"lowest latency, {name}", fastest_format(group)) for name, group in kinds]
    better = [(f"W8A8 or W4A16 at the highest rate, {name}", better_rate(group, "paper")) for name, group in kinds]
    return f"{ratios}\n{_choices('always W4A16', fastest)}\n{_choices('always W8A8', better)}"


def _coverage(folds: Sequence[Fold]) -> str:
    rows = []
    for title, load, quantity, source, _ in SETS:
        for kind in (MODEL, DEVICE, PAIR):
            group = [f for f in _of(folds, kind) if len(f.select(load, quantity, source))]
            if len(group) < 2:
                continue
            c = coverage(group, load, quantity, source)
            worst = f"{100 * c.worst:.0f} % ({c.worst_fold.rsplit('/', 1)[-1]})"
            rows.append([title, kind, f"{100 * c.pooled:.0f} %", worst, f"{c.width:.2f}"])
    return _table(["", "left out", "held, pooled", "held, worst fold", "median high / low"], rows)


def _calibration(folds: Sequence[Fold]) -> str:
    rows = []
    for title, load, quantity, source, _ in SETS[:-1]:
        for fold in _of(folds, DEVICE):
            if source in ("", "r1") and len(fold.select(load, quantity, source)) > 2 * GIVEN:
                before, after = calibrated(fold, load, quantity)
                rows.append([title, fold.name, f"{100 * before:.1f} %", f"{100 * after:.1f} %"])
    return _table(["", "GPU left out, then calibrated", "before", f"after {GIVEN} measurements"], rows)


def _failures(folds: Sequence[Fold]) -> str:
    rows = []
    for title, load, quantity, source, _ in SETS[:-1]:
        found = [
            (e, c.measurement)
            for f in _of(folds, DEVICE)
            for c, e in zip(f.cases, f.errors, strict=True)
            if c.measurement.load == load and c.measurement.quantity == quantity and c.measurement.source.startswith(source)
        ]
        for e, m in sorted(found, key=lambda row: -abs(row[0]))[: WORST // 2]:
            at = "max" if m.load == "max" else f"{m.concurrency:.0f}"
            what = f"{m.model.rsplit('/', 1)[-1]} {m.kernel.format}, {m.count} × {m.hardware.name}, {m.engine.name}"
            load_of = f"{m.prompt:.0f}/{m.output:.0f} at {at}"
            rows.append(
                [title, what, load_of, f"{m.value:.3g}", f"{m.value * np.exp(e):.3g}", f"{100 * (np.exp(e) - 1):+.0f} %"]
            )
    return _table(["", "deployment", "tokens in/out, load", "measured", "predicted", "error"], rows)


def _plots(folds: Sequence[Fold], out_dir: Path) -> list[str]:
    names = []
    for title, load, quantity, source, unit in SETS[:-1]:
        points = [
            (c.measurement.value, float(c.measurement.value * np.exp(e)), c.measurement.hardware.name)
            for f in _of(folds, DEVICE)
            for c, e in zip(f.cases, f.errors, strict=True)
            if c.measurement.load == load and c.measurement.quantity == quantity and c.measurement.source.startswith(source)
        ]
        if points:
            name = f"validation-{load}-{source or 'all'}.svg"
            (out_dir / name).write_text(scatter(points, title=f"{title}: each GPU left out", unit=unit), encoding="utf-8")
            names.append(f"![{title}]({name})")
    return names


def page(coefficients: Coefficients, folds: Sequence[Fold], measurements: list[Measurement], plots: Sequence[str]) -> str:
    """The page as Markdown."""
    seen = in_sample(measurements, coefficients)
    roofline_only = roofline_alone(measurements)
    counted = ", ".join(f"{name} {count}" for name, count in coefficients.sources.items())
    template = files("whichbits.prediction.training").joinpath("validation_page.md").read_text(encoding="utf-8")
    return template.format(
        sources=counted,
        coefficients=len(parameters()),
        overview=_overview(seen, folds, roofline_only),
        worst=_worst(folds),
        formats=_formats(seen, folds),
        coverage=_coverage(folds),
        calibration=_calibration(folds),
        failures=_failures(folds),
        groups=_by_group(seen, folds),
        plots="\n\n".join(plots),
    )


def validate(out_dir: Path, serving_points: Path | None = None) -> Coefficients:
    """Fit, leave out, and write validation.md with its plots to `out_dir`; returns the coefficients with their errors.

    Without `serving_points` (a file of AIConfigurator's silicon_sample.csv) the page is about the published tables alone.
    """
    measurements = sources(serving_points)
    coefficients, folds = train(measurements)
    out_dir.mkdir(parents=True, exist_ok=True)
    text = page(coefficients, folds, measurements, _plots(folds, out_dir))
    (out_dir / "validation.md").write_text(text, encoding="utf-8")
    return coefficients
