"""Studies of 2,000 items, and the verdict on them."""

import numpy as np

from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect

N = 2000
BASE = np.array([1, 1, 1, 0, 0] * (N // 5), dtype=float)  # 60 % right
THREE = (1.0, 1.01, 0.99)


def with_flips(lost, gained):
    """The base's scores with some right answers lost and some wrong ones gained."""
    scores = BASE.copy()
    scores[np.flatnonzero(BASE == 1)[:lost]] = 0
    scores[np.flatnonzero(BASE == 0)[:gained]] = 1
    return scores


def verdict(records, *candidates, margin=0.03, **more):
    formats = {name: name for name in ("bf16", *candidates)}
    findings = collect(records, "bf16", formats, base_bytes=1000, **more)
    return decide(findings, study="test", model="a model", margin=margin)


def caveats(found, code):
    """The caveats of a kind."""
    return [entry for entry in found.caveats if entry.code == code]


def decision(found, candidate):
    return next(entry for entry in found.formats if entry.candidate == candidate)


def speeds(steps, candidate, *, synchronous, loaded, rounds=3, **more):
    """Serve steps of a candidate that takes `synchronous` and `loaded` times the base's latency alone and at 16."""
    return [
        steps.serve(candidate, r, {1: (synchronous * THREE[r], 1.0), 16: (2 * loaded * THREE[r], 2.0)}, **more)
        for r in range(rounds)
    ]


def non_inferior_pair(steps, *, int8=(5, 5), int4=(5, 5)):
    return [
        steps.evaluate("bf16", BASE),
        steps.evaluate("w8a8-int", with_flips(*int8)),
        steps.evaluate("w4a16-int", with_flips(*int4)),
        *(steps.probe(name) for name in ("bf16", "w8a8-int", "w4a16-int")),
    ]


def scored(steps, **lost):
    """Evaluate and probe steps: so many right answers lost, and as many wrong ones gained, by candidate."""
    records = [steps.evaluate("bf16", BASE), steps.probe("bf16")]
    for name, (down, up) in lost.items():
        records += [steps.evaluate(name, with_flips(down, up)), steps.probe(name)]
    return records


def notes(found, candidate):
    return {note.code for cost in found.cost if cost.candidate == candidate for note in cost.notes}
