"""Draws each row's next token from a random generator of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Drawn:
    """A logits processor after which the largest score is a token drawn at a temperature, within `top_p`.

    Gumbel noise is added to the scaled scores: the largest of them is then distributed as their softmax says (Gumbel-max). Each
    row has its own generator, so that what is drawn does not depend on the other rows.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [rows, vocabulary] with noise, in float32; those of tokens beyond `top_p` are minus infinity."""
        scaled = within_top_p(scores.float() / self._temperature, self._top_p)
        noise = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=one) for one in self._generators])
        return scaled - noise.log().to(scaled.device)


def within_top_p(scores: Tensor, top_p: float) -> Tensor:
    """Scores [rows, vocabulary] of the fewest likeliest tokens with `top_p` of the probability; the others minus infinity."""
    if top_p >= 1:
        return scores
    ordered, places = scores.sort(dim=-1, descending=True)
    shares = ordered.softmax(-1)
    beyond = shares.cumsum(-1) - shares >= top_p
    return scores.masked_fill(beyond.scatter(-1, places, beyond), -torch.inf)
