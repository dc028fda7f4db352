"""Which measures of similarity a study asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.similarity.measure import DistributionMeasure, TextMeasure
    from whichbits.studies.steps.study import Study


def compared(study: Study) -> tuple[TextMeasure, ...]:
    """Those of texts. Raises UserError for a name that is none."""
    from whichbits.similarity.measures.registry import text_measures

    wanted = study.specification.similarity
    try:
        return text_measures(wanted.measures) if wanted is not None else ()
    except UserError as error:
        raise study.source.placed(("similarity", "measures"), error) from error


def distributed(study: Study) -> tuple[DistributionMeasure, ...]:
    """Those of next-token distributions. Raises UserError for a name that is none."""
    from whichbits.similarity.measures.registry import distribution_measures

    wanted = study.specification.similarity
    try:
        return distribution_measures(wanted.measures) if wanted is not None else ()
    except UserError as error:
        raise study.source.placed(("similarity", "measures"), error) from error
