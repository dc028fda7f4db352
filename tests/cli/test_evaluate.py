"""`whichbits evaluate`: the judge on the command line."""

from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.specification.judge import JudgeChoice, parse_judge


def test_a_judge_is_named_as_in_a_specification() -> None:
    found = parse_judge('{url: "http://judge:8000", model: m, rounds: 1, prompt_price: 2.5}')
    assert found == JudgeChoice(url="http://judge:8000", model="m", rounds=1, prompt_price=2.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://judge:8000", r"--judge.*judge: .*mapping.*→ write it as \{field: value\}"),
        ("{url: a}", r"--judge.*judge\.model"),
        ("{url: a, model: m, modle: x}", r"judge\.modle.*did you mean `model`"),
        ("{url: a, model: m", "--judge, line 1: not YAML"),
        ("{url: a, model: m, rounds: 0}", r"judge\.rounds"),
        ("", r"--judge.*judge"),
    ],
)
def test_a_mistake_names_its_field(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_judge(text)
