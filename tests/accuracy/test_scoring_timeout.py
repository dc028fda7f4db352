from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.filter import FilterEnsemble
from lm_eval.filters.extraction import MultiChoiceRegexFilter, RegexFilter

from whichbits.accuracy.scoring_timeout import limit_scoring
from whichbits.core.errors import UserError

ENDLESS = "a" * 64 + "!"


def limited(filters: list, process=lambda document, answers: {"acc": 1.0}) -> SimpleNamespace:
    task = SimpleNamespace(task_name="theirs", _filters=[FilterEnsemble("own", filters)], process_results=process)
    limit_scoring(task, seconds=1.5)
    return task


def instances(*answers: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(resps=[answer], doc={"choices": ["A"]}, filtered_resps={}) for answer in answers]


@pytest.mark.parametrize(
    "filter",
    [lambda: RegexFilter(r"(a+)+$"), lambda: MultiChoiceRegexFilter(regex_pattern=r"(?:(a|aa)+)$", group_select=-1)],
)
def test_a_filter_without_end_names_the_answer(filter):
    task = limited([filter])
    with pytest.raises(UserError, match="aaaa"):
        task._filters[0].apply(instances("fine", ENDLESS))


def test_a_filter_that_ends_filters():
    task, asked = limited([lambda: RegexFilter(r"(\d+)")]), instances("it is 42", "none")
    task._filters[0].apply(asked)
    assert [one.filtered_resps["own"] for one in asked] == [["42"], ["[invalid]"]]


def test_scoring_without_end_names_the_answer():
    def swallows(document: object, answers: list[str]) -> dict[str, float]:
        try:
            re.search(r"(a+)+$", answers[0])
        except Exception:  # noqa: BLE001 - as tasks do around their parsers
            return {"acc": 0.0}
        return {"acc": 1.0}

    task = limited([], swallows)
    assert task.process_results({}, ["b"]) == {"acc": 1.0}
    with pytest.raises(UserError, match="aaaa"):
        task.process_results({}, [ENDLESS])
