"""How much longer or shorter a candidate's answers are than the base's where they may end by themselves, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from whichbits.schema.serve import NaturalLoad, ServeSummary
from whichbits.schema.step import Record
from whichbits.verdict.findings import Findings, NaturalRound
from whichbits.verdict.phases import NaturalFinding
from whichbits.verdict.reasons import RoundInvalid, SpeedReason
from whichbits.verdict.resampling import ratio_of_sums
from whichbits.verdict.round_statistics import RoundValue
from whichbits.verdict.serving_options import speed_problem
from whichbits.verdict.speed import RoundKey, is_rate, ratio
from whichbits.verdict.statistics import FloatArray


def natural_rounds(records: Sequence[Record]) -> Iterator[NaturalRound]:
    """The loads of finished steps whose answers end by themselves, each beside the base's."""
    for record in records:
        labels, found = record.labels, record.found(ServeSummary)
        if found.natural is not None and found.base_natural is not None:
            yield NaturalRound(
                candidate=labels.candidate,
                workload=str(labels.workload),
                deployment=str(labels.deployment),
                session=found.session,
                repeat=labels.repeat,
                own=found.natural,
                base=found.base_natural,
                steps=(record.key,),
            )


def natural_findings(findings: Findings, *, level: float, seed: int) -> Iterator[NaturalFinding]:
    """Each candidate's answers beside the base's. The base's own, which are the same, are left out."""
    places: dict[tuple[str, str, str], list[NaturalRound]] = {}
    for one in findings.natural_rounds:
        if one.candidate != findings.base:
            places.setdefault((one.candidate, one.workload, one.deployment), []).append(one)
    for (candidate, workload, deployment), rounds in places.items():
        valid = [one for one in rounds if one.own.valid and one.base.valid]
        used = valid or rounds
        own, base = _tokens([one.own for one in used]), _tokens([one.base for one in used])
        both = np.isfinite(own) & np.isfinite(base)
        if both.sum() < 2:
            continue
        problem = speed_problem(findings, candidate, deployment)
        reasons: list[SpeedReason] = [
            RoundInvalid(round=one.repeat + 1, reason=reason)
            for one in rounds
            for reason in (*one.own.reasons, *one.base.reasons)
        ]
        queries = {_key(one): (_rate(one.own), _rate(one.base)) for one in valid if _served(one)}
        yield NaturalFinding(
            candidate=candidate,
            workload=workload,
            deployment=deployment,
            concurrency=rounds[0].own.concurrency,
            prompts=int(both.sum()),
            tokens=float(own[both].mean()),
            base_tokens=float(base[both].mean()),
            length_ratio=ratio_of_sums(own[both], base[both], level=level, seed=seed),
            truncated=_mean_truncated([one.own for one in used]),
            base_truncated=_mean_truncated([one.base for one in used]),
            speed=ratio(
                {key: values[0] for key, values in queries.items()},
                {key: values[1] for key, values in queries.items()},
                level=level,
            ),
            rounds=len(valid),
            valid=bool(valid) and problem is None,
            reasons=tuple(dict.fromkeys([*reasons, *([] if problem is None else [problem])])),
            steps=tuple(dict.fromkeys(key for one in rounds for key in one.steps)),
        )


def _tokens(loads: Sequence[NaturalLoad]) -> FloatArray:
    """Tokens of each prompt's answer, the mean over rounds, (prompts,); NaN where it failed in one."""
    table = np.array([[np.nan if tokens is None else tokens for tokens in one.tokens] for one in loads], dtype=np.float64)
    mean: FloatArray = table.mean(axis=0)
    return mean


def _mean_truncated(loads: Sequence[NaturalLoad]) -> float:
    return float(np.mean([one.truncated or 0.0 for one in loads]))


def _key(one: NaturalRound) -> RoundKey:
    return one.session, one.repeat


def _served(one: NaturalRound) -> bool:
    return is_rate(one.own.requests_per_second) and is_rate(one.base.requests_per_second)


def _rate(load: NaturalLoad) -> RoundValue:
    return RoundValue(load.requests_per_second or 0.0)
