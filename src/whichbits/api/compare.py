"""`whichbits compare`: texts and next-token distributions of a checkpoint, against the base's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import part_of_a_study, served_at
from whichbits.api.weights import weights_of
from whichbits.core.errors import UserError
from whichbits.schema.compare import CompareSummary
from whichbits.schema.distribution import DistributionSummary
from whichbits.studies.specification.schema import Candidate
from whichbits.studies.study import run_part

if TYPE_CHECKING:
    from whichbits.schema.step import Record
    from whichbits.verdict.estimates import Estimate


@dataclass(frozen=True)
class Measure:
    """One measure of similarity, or what else is known of the comparison."""

    on: str | None
    """Name of the prompts or of the text; the candidate's for what is said of its server."""
    measure: str
    value: float | int | str | None
    low: float | None = None
    """95 % interval over prompts, or over windows of the text; None where the measure has none."""
    high: float | None = None


def compare(
    base: str,
    candidate: str,
    *,
    prompts: Path | None = None,
    text: Path | None = None,
    max_tokens: int = 128,
    emulated: bool = False,
    url: str | None = None,
    candidate_url: str | None = None,
    served_model_name: str | None = None,
    candidate_served_model_name: str | None = None,
    store: Path | None = None,
    seed: int = 0,
) -> tuple[Measure, ...]:
    """Compare a checkpoint, or a format to be made, with the base: greedy texts and next-token distributions.

    A `candidate` that is an alias of a format, and a folder too, is the folder.
    With `emulated` there are only distributions, which are taken in transformers. `url` and `candidate_url` are where servers
    serve base and candidate already, the other two the names they do so under, where they list several. Raises UserError.
    """
    from whichbits.formats.catalogue import find_name, load

    # An alias such as int8 may well be what a checkpoint's folder is called.
    made = candidate.partition("+")[0] in load() or (find_name(candidate) is not None and not Path(candidate).exists())
    column = {"format" if made else "checkpoint": candidate, "run": "emulated" if emulated else "served"}
    texts = {"prompts": prompts, "text": text, "max_tokens": max_tokens}
    if (url is None) != (candidate_url is None) or (emulated and url is not None):
        raise UserError(
            "url and candidate_url: texts of base and candidate are compared at an address each",
            remedy="give both --url and --candidate-url, without --emulated, or neither",
        )
    named = Candidate.model_validate(column).name
    engine = served_at({"base": (url, served_model_name), named: (candidate_url, candidate_served_model_name)})
    part = part_of_a_study("compare", base, candidates=[column], similarity=texts, base_repeats=1, engine=engine, seed=seed)
    wanted = {"quantize", "distribution"} if emulated else {"quantize", "generate", "compare", "distribution"}
    found: list[Measure] = []
    for record in run_part(part, store, wanted):
        if isinstance(record.summary, CompareSummary | DistributionSummary):
            on, intervals = record.labels.prompts or record.labels.text, _intervals(record, seed)
            found.append(_counted(record.summary, on))
            for entry in record.summary.measures:
                within = intervals.get(entry.measure.key)
                low, high = (within.low, within.high) if within else (None, None)
                found.append(Measure(on, entry.measure.key, entry.value, low, high))
        if (weights := weights_of(record)) is not None:
            found.append(Measure(record.labels.candidate, "weights", str(weights)))
    return tuple(found)


def _counted(summary: CompareSummary | DistributionSummary, on: str | None) -> Measure:
    """How much was compared."""
    if isinstance(summary, CompareSummary):
        return Measure(on, "n", summary.n)
    return Measure(on, "n_tokens", summary.n_tokens)


def _intervals(record: Record, seed: int) -> dict[str, Estimate]:
    """The measures of a comparison that have an interval, by name."""
    from whichbits.verdict.collect import collect
    from whichbits.verdict.similarity import similarity_finding

    samples = collect([record], "", {}).similarity
    return {sample.measure: similarity_finding(sample, level=0.95, seed=seed).estimate for sample in samples}
