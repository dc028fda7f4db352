"""Rounds of speed drawn from known truth.

A measurement's logarithm is: level of candidate and load + what the round does to all + `sd` · (what the round does to this
candidate, √share of it at this load alone) + `own`, the error of its requests, whose size is estimated with 9 degrees of
freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whichbits.schema.serve import Metrics
from whichbits.verdict.comparison import Profile
from whichbits.verdict.findings import Findings, Kernel, Round
from whichbits.verdict.round_statistics import RoundValue, Sides

Array = NDArray[np.float64]
OWN = 0.002
DEGREES = 9.0
LADDER = np.log([0.5, 0.75, 0.9, 0.97, 1.0])
Draw = Callable[[np.random.Generator], tuple[Profile, Profile, Profile | None, float]]


@dataclass(frozen=True)
class Condition:
    """What rounds are drawn from; `levels` (sides, loads) are the true logarithms."""

    levels: Array
    rounds: int
    sd: tuple[float, ...]
    share: float = 1.0
    own: float = OWN
    heavy: bool = False

    def sides(self, runs: int, rng: np.random.Generator) -> list[Sides]:
        """Rounds of every side, (runs, loads, rounds)."""
        sides, loads = self.levels.shape
        shape = (runs, loads, self.rounds)
        noise: Callable[[tuple[int, ...]], Array] = (
            (lambda size: rng.standard_t(4, size) / np.sqrt(2)) if self.heavy else rng.standard_normal
        )
        common = rng.normal(0, 0.05, (runs, 1, self.rounds))
        made = []
        for side in range(sides):
            of_round = np.sqrt(1 - self.share) * noise((runs, 1, self.rounds)) + np.sqrt(self.share) * noise(shape)
            logs = self.levels[side][:, None] + common + self.sd[side % len(self.sd)] * of_round
            logs = logs + self.own * rng.standard_normal(shape)
            variances = self.own**2 * rng.chisquare(DEGREES, shape) / DEGREES
            made.append(Sides(logs, variances, np.full(shape, DEGREES)))
        return made


def in_rounds(
    percentile: float | None, requests: int, sigma: float, spread: float, rounds: int, runs: int, rng: np.random.Generator
) -> Array:
    """Logarithms (runs, rounds) of a statistic of log-normal times, as `verdict.speed` takes it in a round."""
    found = np.empty((runs, rounds))
    for r in range(rounds):
        sample = np.exp(sigma * rng.standard_normal((runs, requests), dtype=np.float32))
        if percentile is None:
            found[:, r] = np.log(sample.mean(axis=1))
        else:
            found[:, r] = np.log(np.quantile(sample, percentile / 100, axis=1, method="median_unbiased"))
    return found + spread * rng.standard_normal((runs, rounds))


def profile(name: str, logs: Array, keys: Sequence[tuple[str, str]], valid: NDArray[np.bool_]) -> Profile:
    """A candidate with `logs` (loads, rounds) at 2, 4, 8, … in flight."""
    names = [f"concurrency {2 ** (load + 1)}" for load in range(len(logs))]
    values = {
        load: {key: RoundValue(float(np.exp(x)), OWN, DEGREES) for key, x, ok in zip(keys, row, good, strict=True) if ok}
        for load, row, good in zip(names, logs, valid, strict=True)
    }
    return Profile(
        name, {load: found for load, found in values.items() if found}, dict.fromkeys(names, frozenset(keys)), frozenset(names)
    )


def with_missing(rounds: int, spread: float) -> Draw:
    """Every measurement is invalid with a probability of 15 %, whatever its speed."""

    def draw(rng: np.random.Generator) -> tuple[Profile, Profile, Profile | None, float]:
        keys = [("s", str(r)) for r in range(rounds)]
        logs = LADDER[1:, None] + rng.normal(0, 0.05, rounds) + rng.normal(0, spread, (2, 4, rounds))
        valid = rng.random((2, 4, rounds)) > 0.15
        one, other = (profile(name, logs[i], keys, valid[i]) for i, name in enumerate(("one", "other")))
        return one, other, None, 0.0

    return draw


def in_sessions(first: int, second: int, spread: float) -> Draw:
    """Two candidates of ratio 1.10, each beside the base in a session of its own, on a machine that changed between."""

    def draw(rng: np.random.Generator) -> tuple[Profile, Profile, Profile | None, float]:
        keys = [("a", str(r)) for r in range(first)], [("b", str(r)) for r in range(second)]
        level = np.concatenate([rng.normal(0, 0.05, first), rng.normal(0.5, 0.05, second)])
        logs = LADDER[2:, None] + level + rng.normal(0, spread, (3, 3, first + second))
        whole = np.ones((3, first + second), bool)
        base = profile("base", logs[0], [*keys[0], *keys[1]], whole)
        one = profile("one", logs[1][:, :first] + np.log(1.1), keys[0], whole[:, :first])
        return one, profile("other", logs[2][:, first:], keys[1], whole[:, first:]), base, float(np.log(1.1))

    return draw


def study(truth: dict[str, float], spread: float, rounds: int, rng: np.random.Generator) -> Findings:
    """A study of candidates whose true speeds over the base's are `truth`, at three loads."""
    made: list[Round] = []
    for r in range(rounds):
        common = rng.normal(0, 0.05)
        for load, level in enumerate(LADDER[2:]):
            logs = {name: np.log(ratio) + common + level + rng.normal(0, spread) for name, ratio in truth.items()}
            logs["base"] = common + level + rng.normal(0, spread)
            for name in truth:
                for served in (name, "base"):
                    concurrency, speed = 2 ** (load + 2), float(np.exp(logs[served]))
                    latency = np.full(10 * concurrency, concurrency / speed)
                    latency[::2] *= 1 + OWN
                    times = dict.fromkeys(("latency_s", "ttft_s", "itl_s", "tpot_s"), latency)
                    made.append(
                        Round(
                            served, name, "w", "d", f"concurrency {concurrency}", concurrency, "s", r, True, (),
                            Metrics(requests_per_second=speed, output_tokens_per_second=speed), times, (),
                        )
                    )  # fmt: skip
    names = ("base", *truth)
    kernels = {name: Kernel("native", "k", None) for name in names}
    return Findings("base", {name: name for name in names}, rounds=tuple(made), kernels=kernels)
