"""Pairs of answers to the same questions: judged in both orders and several times, and what the judgments come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from whichbits.accuracy.arena.bradley_terry import win_rate
from whichbits.accuracy.arena.judge_prompts import Outcome, Round, conversation, outcome_of
from whichbits.accuracy.arena.style import Style, difference, style_of
from whichbits.accuracy.judging import Judge, Judging, Message, Reply, work_of
from whichbits.accuracy.result import text_hash
from whichbits.accuracy.sampling import sample_seed
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.schema.evaluate import Judged, Rate


@dataclass(frozen=True)
class Pair:
    """The model's answer to a question, and the one that it is compared with."""

    question: int
    """Number of the question."""
    prompt: str
    category: str
    answer: str
    """What the judge reads: without the thought before it."""
    other: str
    is_tie: bool = False
    """Whether it is a tie that the judge is not asked about."""


@dataclass(frozen=True)
class Judgments:
    """What a judge says of pairs."""

    rounds: tuple[tuple[Round, ...], ...]
    """Of each pair, in their order."""
    judged: Judged


_TIE = Round(second=Outcome(0.5, 1), first=Outcome(0.5, 1))


def judge_pairs(pairs: Sequence[Pair], judge: Judge, judging: Judging, tokenizer: PromptTokenizer, *, seed: int) -> Judgments:
    """The judgments of pairs, `judging.rounds` times in both orders; what that takes is said before the judge is asked."""
    asked = [pair for pair in pairs if not pair.is_tie]
    games = [_game(pair, answer_is_a=first) for pair in asked for first in (False, True)]
    seeds = [sample_seed(seed, text_hash(game[-1]["content"]), number) for number in range(judging.rounds) for game in games]
    replies: Sequence[Reply] = []
    if games:
        read = [len(tokenizer.encode(message["content"])) for game in games for message in game]
        judge.say(work_of(len(seeds), judging.rounds * sum(read), judging).text)
        replies = judge.replies(games * judging.rounds, seeds=seeds)
    outcomes = [outcome_of(reply.text, model_is_a=bool(number % 2)) for number, reply in enumerate(replies)]
    flat = [Round(*outcomes[at : at + 2]) for at in range(0, len(outcomes), 2)]
    of_asked = [tuple(flat[number :: len(asked)]) for number in range(len(asked))]
    left = iter(of_asked)
    rounds = tuple((_TIE,) * judging.rounds if pair.is_tie else next(left) for pair in pairs)
    plain, styled = _rates(pairs, rounds, tokenizer, seed=seed)
    judged = Judged(
        judge=judging.model,
        rounds=judging.rounds,
        win_rate=plain,
        win_rate_at_equal_style=styled,
        swayed_by_order=_swayed(of_asked),
        changed_when_repeated=_changed(of_asked),
        without_label=sum(outcome is None for outcome in outcomes),
        identical=len(pairs) - len(asked),
        requests=len(replies),
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        generated_tokens=sum(reply.tokens for reply in replies),
        dollars=_dollars(replies, judging),
    )
    return Judgments(rounds, judged)


def _game(pair: Pair, *, answer_is_a: bool) -> Sequence[Message]:
    a, b = (pair.answer, pair.other) if answer_is_a else (pair.other, pair.answer)
    return conversation(pair.prompt, pair.category, a, b)


def _swayed(rounds: Sequence[Sequence[Round]]) -> float | None:
    """Share of rounds in which another order makes another winner."""
    labelled = [one for each in rounds for one in each if one.outcomes]
    return sum(one.swayed for one in labelled) / len(labelled) if labelled else None


def _changed(rounds: Sequence[Sequence[Round]]) -> float | None:
    """Share of repeated judgments with another winner than the one before."""
    again = [
        before.score != after.score
        for each in rounds
        for side in ("first", "second")
        for before, after in pairwise([getattr(one, side) for one in each])
        if before is not None and after is not None
    ]
    return sum(again) / len(again) if again else None


def _dollars(replies: Sequence[Reply], judging: Judging) -> float | None:
    if judging.prompt_price is None or judging.output_price is None:
        return None
    read, written = (sum(getattr(reply, name) for reply in replies) for name in ("prompt_tokens", "tokens"))
    return float(read * judging.prompt_price + written * judging.output_price) / 1e6


def _rates(
    pairs: Sequence[Pair], rounds: Sequence[Sequence[Round]], tokenizer: PromptTokenizer, *, seed: int
) -> tuple[Rate | None, Rate | None]:
    """Win rates without and with style control; None where no round has labels."""
    rows = [(pair, outcome) for pair, each in zip(pairs, rounds, strict=True) for one in each for outcome in one.outcomes]
    if not rows:
        return None, None

    def style(text: str) -> Style:
        return style_of(text, tokens=len(tokenizer.encode(text, special=False)))

    _, question = np.unique([pair.question for pair, _ in rows], return_inverse=True)
    scores = np.array([outcome.score for _, outcome in rows])
    weights = np.array([float(outcome.weight) for _, outcome in rows])
    differences = {pair: difference(style(pair.answer), style(pair.other)) for pair in pairs}
    styles = np.array([differences[pair] for pair, _ in rows])
    plain = win_rate(question, scores, weights, seed=seed)
    controlled = win_rate(question, scores, weights, seed=seed, style=styles)
    return Rate(rate=plain.rate, low=plain.low, high=plain.high), Rate(
        rate=controlled.rate, low=controlled.low, high=controlled.high
    )
