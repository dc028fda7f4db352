"""The judge's prompts, labels and their points, as in lmarena/arena-hard-auto (Apache-2.0)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.accuracy.judging import Message

_IMPARTIAL = (
    "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the user "
    "prompt displayed below. You will be given assistant A's answer and assistant B's answer. Your job is to evaluate which "
    "assistant's answer is better.\n\n"
)
_OWN_ANSWER = (
    "Begin your evaluation by generating your own answer to the prompt. You must provide your answers before judging any "
    "answers.\n\nWhen evaluating the assistants' answers, compare both assistants' answers with your answer."
)
_NO_OWN_ANSWER = "When evaluating the assistants' answers, compare both assistants' answers."
_CRITERIA = (
    " You must identify and correct any mistakes or inaccurate information.\n\n"
    "Then consider if the assistant's answers are helpful, relevant, and concise. Helpful means the answer correctly responds "
    "to the prompt or follows the instructions. Note when user prompt has any ambiguity or more than one interpretation, it is "
    "more helpful and appropriate to ask for clarifications or more information from the user than providing an answer based "
    "on assumptions. Relevant means all parts of the response closely connect or are appropriate to what is being asked. "
    "Concise means the response is clear and not verbose or excessive.\n\n"
    "Then consider the creativity and novelty of the assistant's answers when needed. Finally, identify any missing important "
    "information in the assistants' answers that would be beneficial to include when responding to the user prompt.\n\n"
    "After providing your explanation, you must output only one of the following choices as your final verdict with a "
    "label:\n\n1. Assistant A is significantly better: [[A>>B]]\n2. Assistant A is slightly better: [[A>B]]\n"
    "3. Tie, relatively the same: [[A=B]]\n4. Assistant B is slightly better: [[B>A]]\n"
    '5. Assistant B is significantly better: [[B>>A]]\n\nExample output: "My final verdict is tie: [[A=B]]".'
)
CREATIVE = "creative_writing"
"""The category whose judge writes no answer of its own."""

_REQUEST = (
    "<|User Prompt|>\n{question}\n\n<|The Start of Assistant A's Answer|>\n{a}\n<|The End of Assistant A's Answer|>\n\n"
    "<|The Start of Assistant B's Answer|>\n{b}\n<|The End of Assistant B's Answer|>"
)
_LABELS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))

STRONG = 3
"""How many wins a label with >> counts."""

_A_WINS = {
    "A>B": (1.0, 1), "A>>B": (1.0, STRONG), "A=B": (0.5, 1), "B=A": (0.5, 1), "B<A": (1.0, 1), "B<<A": (1.0, STRONG),
    "B>A": (0.0, 1), "B>>A": (0.0, STRONG), "A<B": (0.0, 1), "A<<B": (0.0, STRONG),
}  # fmt: skip
"""For each label what A scores, and how many times."""


@dataclass(frozen=True)
class Outcome:
    """What the model scores in one judgment (1 won, ½ tie, 0 lost), and how many times that counts."""

    score: float
    weight: int


@dataclass(frozen=True)
class Round:
    """The two judgments of a round: the baseline first, then the model first. None: no label that counts."""

    second: Outcome | None
    """The model as B."""
    first: Outcome | None
    """The model as A."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Both, or none where either has no label, as arena-hard leaves such rounds out."""
        return () if self.first is None or self.second is None else (self.first, self.second)

    @property
    def swayed(self) -> bool:
        """Whether another order makes another winner."""
        return self.first is not None and self.second is not None and self.first.score != self.second.score


def conversation(question: str, category: str, a: str, b: str) -> Sequence[Message]:
    """What the judge is asked."""
    system = _IMPARTIAL + (_NO_OWN_ANSWER if category == CREATIVE else _OWN_ANSWER) + _CRITERIA
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": _REQUEST.format(question=question, a=a, b=b)},
    )


def label_of(judgment: str) -> str | None:
    """The last label in double brackets, else the last in single ones; None where there is none."""
    for pattern in _LABELS:
        if found := pattern.findall(judgment.upper()):
            return str(found[-1])
    return None


def outcome_of(judgment: str, *, model_is_a: bool) -> Outcome | None:
    """What a judgment means for the model; None where it has no label, or one that is not among the five."""
    counted = _A_WINS.get(label_of(judgment) or "")
    if counted is None:
        return None
    score, weight = counted
    return Outcome(score if model_is_a else 1 - score, weight)


def win_probability(rounds: Sequence[Round]) -> float:
    """The model's score over all judgments of an answer, by weight; ½ where no round has two labels."""
    outcomes = [outcome for one in rounds for outcome in one.outcomes]
    if not outcomes:
        return 0.5
    return sum(one.score * one.weight for one in outcomes) / sum(one.weight for one in outcomes)
