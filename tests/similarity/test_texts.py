import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.similarity.generate import GeneratedText
from whichbits.similarity.texts import compare_texts, first_difference, pair, summarise


def row(item: str, text: str, prompt: str = "p", tokens: int = 4) -> GeneratedText:
    return GeneratedText(item, prompt, text, tokens, "stop")


def constant(value: float):
    return lambda base, candidate: [value] * len(base)


def test_scores_ratio_and_first_difference_by_hand():
    pytest.importorskip("rouge_score")
    base = [row("1", "a b c d", tokens=4), row("2", "same"), row("3", "something", tokens=0)]
    candidate = [row("3", " "), row("1", "a b d c", tokens=6), row("2", "same")]
    first, second, third = compare_texts(base, candidate, bertscore=constant(0.9), sts=constant(0.8))
    # All four words are there; three of them in order.
    assert (first.item, first.rouge1, first.rougeL) == ("1", 1.0, 0.75)
    assert (first.bertscore, first.sts, first.first_difference, first.length_ratio) == (0.9, 0.8, 4, 1.5)
    assert (second.rouge1, second.rougeL, second.bertscore, second.sts, second.first_difference) == (1, 1, 1, 1, None)
    assert (third.rouge1, third.sts, third.first_difference, third.length_ratio) == (0, 0, 0, None)
    summary = summarise([first, second, third])
    assert summary.n == 3
    assert summary.rouge1 == pytest.approx(2 / 3)
    assert summary.rougeL == pytest.approx(1.75 / 3)
    assert summary.bertscore == pytest.approx(1.9 / 3)
    assert summary.sts == pytest.approx(1.8 / 3)
    assert summary.identical == pytest.approx(1 / 3)


def test_scorers_are_not_asked_about_identical_texts():
    def refuse(base, candidate):
        raise AssertionError("asked")

    rows = compare_texts([row("1", ""), row("2", "x")], [row("1", ""), row("2", "x")], bertscore=refuse, sts=refuse)
    assert [item.bertscore for item in rows] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        ([row("1", "x", prompt="other"), row("2", "x")], "prompts differ between base and candidate: 1"),
        ([row("1", "x")], "items on one side only: 2"),
        ([row("1", "x"), row("2", "x"), row("3", "x")], "items on one side only: 3"),
        ([row("1", "x"), row("1", "x"), row("2", "x")], "occurs twice"),
    ],
)
def test_the_join_fails_loudly(candidate, says):
    with pytest.raises(ValueError, match=says):
        pair([row("1", "x"), row("2", "x")], candidate)


@pytest.mark.parametrize(
    ("left", "right", "index"), [("", "", None), ("abc", "abc", None), ("abc", "abd", 2), ("ab", "abc", 2), ("", "x", 0)]
)
def test_first_difference_by_hand(left, right, index):
    assert first_difference(left, right) == index


@given(st.text(), st.text())
def test_texts_agree_up_to_the_first_difference_and_not_at_it(left, right):
    index = first_difference(left, right)
    assert index == first_difference(right, left)
    if index is None:
        assert left == right
    else:
        assert left[:index] == right[:index]
        assert left[index : index + 1] != right[index : index + 1]
