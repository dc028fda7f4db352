"""Which measures of similarity a study asks for, and what summaries of before they were described held of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.similarity.measure import SimilarityMeasure
    from whichbits.studies.steps.study import Study

Measure = TypeVar("Measure", bound="SimilarityMeasure")


def wanted_measures(study: Study, of_names: Callable[[Sequence[str] | None], tuple[Measure, ...]]) -> tuple[Measure, ...]:
    """Those of one sort, which `of_names` chooses from names. Raises UserError for a name that there is not."""
    wanted = study.specification.similarity
    try:
        return of_names(wanted.measures) if wanted is not None else ()
    except UserError as error:
        raise study.source.placed(("similarity", "measures"), error) from error


def described(summary: Any, measures: Sequence[SimilarityMeasure]) -> Any:
    """A summary whose values stood by name as one that describes its measures, which were these."""
    if not isinstance(summary, dict) or "measures" in summary:
        return summary
    measured = [{"measure": one.described.model_dump(), "value": summary.get(one.described.key)} for one in measures]
    return {**summary, "measures": measured}
