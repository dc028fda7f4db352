import hashlib

import pytest
from pydantic import ValidationError

from whichbits.reporting.citations import Citations, anchor
from whichbits.reporting.context import StepEntry


def steps(count: int) -> list[StepEntry]:
    keys = [hashlib.sha256(bytes([i])).hexdigest() for i in range(count)]
    return [StepEntry(key=k, kind="evaluate", labels={"task": "<b>"}, state="done", directory="steps/x") for k in keys]


def test_runs_of_steps_are_drawn_together():
    listed = steps(9)
    html = Citations(listed).cite([listed[i].key for i in (7, 0, 2, 3, 4, 8, 0)])
    for i in (0, 2, 4, 7, 8):
        assert f'href="#{anchor(listed[i].key)}"' in html
    assert anchor(listed[3].key) not in html
    assert ">3</a>–<a" in html
    assert "<b>" not in html


def test_a_step_that_is_not_listed_is_named_and_not_linked():
    html = Citations(steps(2)).cite(["<script>unlisted"])
    assert "<a" not in html
    assert "&lt;script&gt;" in html


def test_link_goes_to_the_first_listed_step():
    listed = steps(2)
    citations = Citations(listed)
    assert citations.link(["unlisted", listed[1].key]) == f"#{anchor(listed[1].key)}"
    assert citations.link(["unlisted"]) is None


@pytest.mark.parametrize("directory", ["/etc", "steps/../../secret"])
def test_a_step_lies_in_the_store(directory):
    with pytest.raises(ValidationError, match="does not lie in the store"):
        StepEntry(key="0" * 64, kind="evaluate", state="done", directory=directory)
