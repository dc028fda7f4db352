from __future__ import annotations

import pytest

from whichbits.accuracy.arena.judge_prompts import Outcome, Round, conversation, label_of, outcome_of, win_probability


@pytest.mark.parametrize(
    ("judgment", "label"),
    [
        ("My final verdict is tie: [[A=B]]", "A=B"),
        ("First [[A>B]], but no: [[B>>A]].", "B>>A"),
        ("final: [[a>>b]]", "A>>B"),
        ("final: [B>A]", "B>A"),
        ("[A>B] then [[B>A]]", "B>A"),
        ("[[C]] and no label", None),
        ("", None),
    ],
)
def test_the_last_label_counts(judgment: str, label: str | None) -> None:
    assert label_of(judgment) == label


@pytest.mark.parametrize(
    ("label", "as_a", "as_b", "weight"),
    [
        ("A>>B", 1, 0, 3), ("A>B", 1, 0, 1), ("A=B", 0.5, 0.5, 1), ("B>A", 0, 1, 1), ("B>>A", 0, 1, 3),
        ("B=A", 0.5, 0.5, 1), ("A<B", 0, 1, 1), ("A<<B", 0, 1, 3), ("B<A", 1, 0, 1), ("B<<A", 1, 0, 3),
    ],
)  # fmt: skip
def test_a_label_is_seen_from_the_models_side(label: str, as_a: float, as_b: float, weight: int) -> None:
    assert outcome_of(f"[[{label}]]", model_is_a=True) == Outcome(as_a, weight)
    assert outcome_of(f"[[{label}]]", model_is_a=False) == Outcome(as_b, weight)


def test_what_is_no_label_of_the_five_counts_nothing() -> None:
    assert outcome_of("[[A>>>B]]", model_is_a=True) is None
    assert outcome_of("I cannot say.", model_is_a=True) is None


def test_the_score_of_an_answer_weighs_strong_labels_three_times() -> None:
    strong, tie, lost = Outcome(1, 3), Outcome(0.5, 1), Outcome(0, 1)
    assert win_probability([Round(strong, tie)]) == pytest.approx(3.5 / 4)
    assert win_probability([Round(strong, tie), Round(lost, lost)]) == pytest.approx(3.5 / 6)
    # A round that lacks a label is left out; without any the answer is as good as the baseline's.
    assert win_probability([Round(strong, None), Round(lost, tie)]) == pytest.approx(0.25)
    assert win_probability([Round(None, strong)]) == 0.5
    assert Round(strong, lost).swayed and Round(strong, tie).swayed
    assert not Round(strong, Outcome(1, 1)).swayed and not Round(None, lost).swayed


def test_the_judge_writes_an_answer_of_its_own_but_for_creative_writing() -> None:
    system, user = conversation("Why?", "hard_prompt", "Because.", "No.")
    assert "Begin your evaluation by generating your own answer" in system["content"]
    assert user["content"].startswith("<|User Prompt|>\nWhy?\n\n<|The Start of Assistant A's Answer|>\nBecause.\n<|The End")
    assert user["content"].endswith("<|The Start of Assistant B's Answer|>\nNo.\n<|The End of Assistant B's Answer|>")
    creative = conversation("Why?", "creative_writing", "a", "b")[0]["content"]
    assert "own answer" not in creative and "[[B>>A]]" in creative
