"""What the margins of answers could add to the paired difference of two scores, and whether such intervals hold the truth.

    python benchmarks/verdict/continuous_measures.py [--runs 10000] [--seed 0] [--write docs/verdict.md]

An item is right where its margin is above 0: the log-likelihood of the right answer less that of the likeliest other.
A population has margins of the base and a candidate that moves them; the truth is the difference of mean scores. On `ITEMS`
items that both have answered are compared, at 95 %,

- paired: the mean difference of scores, as the verdict takes it;
- regression: the same within strata of the base's margin, whose shares are known from `MORE` times as many items that the base
  alone has answered (post-stratification; the margin is a control variate with a known mean there);
- smoothed: scores Φ(margin / scale) in place of 0 and 1, the scale being the standard deviation of the change of margins.

Printed are for each the coverage of its interval and its width against the paired one's; and for how many candidates that share
the base the regression saves more items than the base answers more. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

ITEMS, MORE, STRATA, Z = 1000, 4, 10, 1.959964
CHUNK, TRUTH_ITEMS = 200, 20_000_000
BEGIN, END = "<!-- made by benchmarks/verdict/continuous_measures.py -->", "<!-- end of continuous measures -->"


@dataclass(frozen=True)
class Population:
    """Margins of the base, and of a candidate for given ones of the base (any shape)."""

    name: str
    base: Callable[[np.random.Generator, tuple[int, ...]], Array]
    candidate: Callable[[np.random.Generator, Array], Array]

    def truth(self, seed: int) -> float:
        """Difference of mean scores."""
        rng, total = np.random.default_rng(seed), 0.0
        for _ in range(10):
            margins = self.base(rng, (TRUTH_ITEMS // 10,))
            total += float(((self.candidate(rng, margins) > 0) * 1.0 - (margins > 0)).mean())
        return total / 10


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Margins without a gap at 0."""
    return rng.normal(0.3, 1.0, shape)


def near_ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A third of the items lie near 0."""
    return np.where(rng.random(shape) < 0.3, rng.normal(0.0, 0.15, shape), rng.normal(0.5, 1.0, shape))


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Hardly any item lies near 0."""
    return np.where(rng.random(shape) < 0.6, 1.0, -1.0) * np.abs(rng.normal(0.9, 0.4, shape))


def steep(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Right answers lie three times as densely at 0 as wrong ones do."""
    return np.where(rng.random(shape) < 0.6, rng.exponential(0.5, shape), -rng.exponential(1.0, shape))


def moved(shift: float, spread: float) -> Callable[[np.random.Generator, Array], Array]:
    """All margins move by `shift`, and by noise."""
    return lambda rng, margins: margins + shift + rng.normal(0.0, spread, margins.shape)


def broken_ties(rng: np.random.Generator, margins: Array) -> Array:
    """Little noise, and close right answers turn wrong: as where close log-likelihoods are rounded to ties."""
    noisy = margins + rng.normal(0.0, 0.05, margins.shape)
    return np.where((margins > 0) & (margins < 0.05), -np.abs(noisy), noisy)


POPULATIONS = (
    Population("little noise", normal, moved(0.0, 0.05)),
    Population("noise", normal, moved(0.0, 0.2)),
    Population("noise, and a loss", normal, moved(-0.1, 0.2)),
    Population("much noise, and a loss", normal, moved(-0.2, 0.6)),
    Population("many near ties", near_ties, moved(-0.02, 0.1)),
    Population("few near ties", apart, moved(-0.1, 0.4)),
    Population("right answers denser at 0", steep, moved(0.0, 0.3)),
    Population("close right answers turn wrong", normal, broken_ties),
)


@dataclass
class Tally:
    """Of one estimator: runs whose interval holds the truth, and the sum of half widths."""

    held: int = 0
    width: float = 0.0

    def add(self, estimate: Array, error: Array, truth: float) -> None:
        """Estimates and standard errors, (runs,)."""
        self.held += int((np.abs(estimate - truth) <= Z * error).sum())
        self.width += float((Z * error).sum())


def paired(values: Array) -> tuple[Array, Array]:
    """Mean and standard error of (runs, items)."""
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(values.shape[1])


def regression(differences: Array, margins: Array, more: Array) -> tuple[Array, Array]:
    """Post-stratified mean of (runs, items) and its standard error; strata are quantiles of all margins, `more`."""
    edges = np.quantile(more, np.linspace(0, 1, STRATA + 1)[1:-1], axis=1).T
    stratum = (margins[:, :, None] > edges[:, None, :]).sum(-1)
    means, variances = np.zeros((STRATA, len(margins))), np.zeros((STRATA, len(margins)))
    for number in range(STRATA):
        inside = stratum == number
        count = np.maximum(inside.sum(1), 2)
        means[number] = (differences * inside).sum(1) / count
        squares = (differences**2 * inside).sum(1) - count * means[number] ** 2
        variances[number] = np.maximum(squares, 0) / (count - 1) / count
    estimate = means.mean(0)
    between = ((means - estimate) ** 2).mean(0) / more.shape[1]
    return estimate, np.sqrt(variances.sum(0) / STRATA**2 + between)


def measure(population: Population, runs: int, seed: int) -> str:
    """A row of the table."""
    rng, truth = np.random.default_rng(seed), population.truth(seed + 1)
    plain, stratified, smooth, changed = Tally(), Tally(), Tally(), 0.0
    for _ in range(runs // CHUNK):
        more = population.base(rng, (CHUNK, MORE * ITEMS))
        base = more[:, :ITEMS]
        candidate = population.candidate(rng, base)
        differences = (candidate > 0) * 1.0 - (base > 0)
        changed += float(np.abs(differences).mean())
        scale = (candidate - base).std(1, keepdims=True)
        plain.add(*paired(differences), truth)
        stratified.add(*regression(differences, base, more), truth)
        smooth.add(*paired(ndtr(candidate / scale) - ndtr(base / scale)), truth)
    done = runs // CHUNK * CHUNK
    share = (stratified.width / plain.width) ** 2  # of the items that the paired difference needs
    enough = f"{(MORE - 1) / (1 - share):.0f}" if share < 0.99 else "–"
    return (
        f"| {population.name} | {100 * changed * CHUNK / done:.1f} | {100 * truth:.2f} | {100 * plain.held / done:.1f} "
        f"| {100 * stratified.held / done:.1f} | {stratified.width / plain.width:.2f} | {enough} "
        f"| {100 * smooth.held / done:.1f} | {smooth.width / plain.width:.2f} |"
    )


def main() -> None:
    """Print the table, or put it between the markers of a page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [
        "| population | answers changed, % | true difference, points | paired: coverage, % | regression: coverage, % | width "
        "| candidates until it saves | smoothed: coverage, % | width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, population in enumerate(POPULATIONS):
        lines.append(measure(population, options.runs, options.seed + 10 * number))
        print(lines[-1], flush=True)
    table = "\n".join([*lines, "", f"{options.runs:,} runs of {ITEMS:,} items each; widths are against the paired interval's."])
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    else:
        print(table)


if __name__ == "__main__":
    main()
