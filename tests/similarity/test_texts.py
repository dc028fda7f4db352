import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.schema.generate import GeneratedText
from whichbits.schema.metrics import Measure
from whichbits.similarity.encoders import Encoders
from whichbits.similarity.measure import Likeness
from whichbits.similarity.measures.first_difference import FirstDifference, FirstToken, Identical, first_difference
from whichbits.similarity.measures.length_ratio import LengthRatio
from whichbits.similarity.measures.rouge import Rouge1, RougeL
from whichbits.similarity.texts import compare_texts, pair

UNUSED = Encoders("", "")


def row(item: str, text: str, prompt: str = "p", tokens: int = 4) -> GeneratedText:
    return GeneratedText(item, prompt, text, tokens, "stop")


class Constant(Likeness):
    described = Measure(key="constant", title="Constant", better="higher")

    def likeness(self, base, candidate, encoders):
        return [0.9] * len(base)


class Refusing(Constant):
    def likeness(self, base, candidate, encoders):
        raise AssertionError("asked")


def test_scores_ratio_and_first_difference_by_hand():
    pytest.importorskip("rouge_score")
    base = [row("1", "a b c d", tokens=4), row("2", "same"), row("3", "something", tokens=0)]
    candidate = [row("3", " "), row("1", "a b d c", tokens=6), row("2", "same")]
    measures = [Rouge1(), RougeL(), Constant(), FirstDifference(), Identical(), LengthRatio()]
    found = compare_texts(base, candidate, measures, UNUSED)
    # Of the first, all four words are there; three of them in order.
    names = ("item", "rouge1", "rougeL", "constant", "first_difference", "identical", "length_ratio")
    assert list(found.rows()) == [
        dict(zip(names, values, strict=True))
        for values in (("1", 1.0, 0.75, 0.9, 4, 0.0, 1.5), ("2", 1, 1, 1, None, 1.0, 1.0), ("3", 0, 0, 0, 0, 0.0, None))
    ]
    summary = found.summary()
    assert summary.n == 3
    assert [entry.measure.key for entry in summary.measures] == list(names[1:])
    assert [entry.value for entry in summary.measures] == pytest.approx([2 / 3, 1.75 / 3, 1.9 / 3, 2, 1 / 3, 1.25])


def test_libraries_are_not_asked_about_identical_texts():
    texts = [row("1", ""), row("2", "x")]
    assert compare_texts(texts, texts, [Refusing()], UNUSED).scores == ((1.0, 1.0),)


def test_a_measure_that_no_text_has_has_no_mean():
    texts = [row("1", "", tokens=0)]
    (measured,) = compare_texts(texts, texts, [LengthRatio()], UNUSED).summary().measures
    assert measured.value is None


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


def test_the_first_token_that_differs_and_nothing_where_none_is_known():
    def tokens(*ids):
        return GeneratedText("a", "p", "text", len(ids), "stop", ids or None)

    def first(base, candidate):
        return FirstToken().scores([base], [candidate], None)[0]

    assert first(tokens(1, 2, 3), tokens(1, 2, 4, 5)) == 2
    assert first(tokens(1, 2), tokens(1, 2, 3)) == 2
    assert first(tokens(1, 2), tokens(1, 2)) is None
    assert first(tokens(1, 2), tokens()) is None
