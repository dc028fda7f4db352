"""Several answers an item, from what is asked of the engine to rows and summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import text_hash
from whichbits.accuracy.sampling import sample_seed
from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateItem
from whichbits.schema.sampling import Sampling

pytest.importorskip("lm_eval")
DRAWN = Sampling(temperature=0.6, top_p=0.95, samples=4, reducer="mean")


@dataclass(frozen=True)
class Said:
    text: str
    tokens: int = 1
    finish_reason: str = "stop"


class Knows:
    """Says the right number of `order` where the seed is even."""

    max_length = 4096

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked: list[dict[str, Any]] = []

    def loglikelihood(self, pairs):
        raise AssertionError

    def generate(self, prompts, *, max_tokens, stop=(), temperature=0.0, top_p=1.0, seed=0, special_tokens=False):
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        self.asked.append({"temperature": temperature, "top_p": top_p, "seed": seed, "texts": texts})
        return [Said(self._answer(text, one)) for text, one in zip(texts, seed, strict=True)]

    @staticmethod
    def _answer(text: str, seed: int) -> str:
        numbers = [int(number) for number in text.rstrip(",").split(",")]
        return f" {2 * numbers[-1] - numbers[-2]}" if seed % 2 == 0 else " no"


def test_each_answer_has_its_seed_and_an_item_is_one_row(tiny_llama: Path) -> None:
    model = Knows(tiny_llama)
    result = evaluate(task("order").sampled(DRAWN), model, tiny_llama, limit=10, seed=7)
    assert [(one["temperature"], one["top_p"]) for one in model.asked] == [(0.6, 0.95)] * 4
    for sample, one in enumerate(model.asked):
        assert one["seed"] == [sample_seed(7, text_hash(text), sample) for text in one["texts"]]
    right = [[float(one["seed"][item] % 2 == 0) for one in model.asked] for item in range(10)]
    assert [list(item.sample_scores) for item in result.items] == right
    assert [item.score for item in result.items] == [sum(one) / 4 for one in right]
    rows = result.rows()
    assert [list(row.sample_scores) for row in rows] == right
    assert all(len(row.sample_predictions) == 4 and row.prediction == row.sample_predictions[0] for row in rows)
    summary = result.summary
    assert (summary.n, summary.sampled.samples, summary.sampled.reducer, summary.sampled.temperature) == (10, 4, "mean", 0.6)
    assert summary.sampled.sample_mean == pytest.approx(summary.score)
    variance = summary.sampled.variance_between + summary.sampled.variance_within / 4
    assert summary.sampled.variance_between == 0 or summary.stderr**2 == pytest.approx(variance / 10)
    assert summary.generated_tokens == 4


@pytest.mark.parametrize(("reducer", "score"), [("pass@2", lambda p: 1 - (1 - p) * (3 - 4 * p) / 3), ("majority", round)])
def test_reducers_make_the_score(tiny_llama: Path, reducer: str, score) -> None:
    drawn = DRAWN.model_copy(update={"reducer": reducer})
    result = evaluate(task("order").sampled(drawn), Knows(tiny_llama), tiny_llama, limit=12)
    for item in result.items:
        share = sum(item.sample_scores) / 4
        expected = 0.5 if reducer == "majority" and share == 0.5 else score(share)
        assert item.score == pytest.approx(expected)


def test_a_greedy_task_is_as_it_was(tiny_llama: Path, plain_tiny) -> None:
    result = evaluate(task("order"), plain_tiny, tiny_llama, limit=3)
    assert "samples" not in result.summary
    assert type(result.rows()[0]) is EvaluateItem
    assert not {"samples", "top_p", "reducer"} & set(task("order").model_dump(mode="json"))


def test_choices_are_not_drawn(tiny_llama: Path, plain_tiny) -> None:
    with pytest.raises(UserError, match="draws no answer"):
        evaluate(task("choice").sampled(DRAWN), plain_tiny, tiny_llama, limit=3)
