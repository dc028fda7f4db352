"""How the next token of several texts is drawn, and a key-value cache with room for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor
from transformers.cache_utils import DynamicCache, DynamicLayer


class Drawn(LogitsProcessor):
    """Leaves of each text's next tokens the one that its random number draws from the model's distribution.

    `chances` float64 [texts, length] are uniform in [0, 1): entry [i, n] draws token n of text i, by the inverse of the
    cumulated distribution. `ends` are never drawn. `on_place(tokens)` is told how many tokens each text has.
    """

    def __init__(self, chances: torch.Tensor, ends: Sequence[int], on_place: Callable[[int], None]) -> None:
        self._chances = chances
        self._ends = list(ends)
        self._on_place = on_place

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Logits [texts, vocabulary] that are finite at the drawn token alone."""
        place = input_ids.shape[1]
        logits = scores.float()
        logits[:, self._ends] = -torch.inf
        cumulated = torch.softmax(logits, dim=-1).cumsum(dim=-1, dtype=torch.float64)
        wanted = self._chances[:, place, None] * cumulated[:, -1:]
        token = torch.searchsorted(cumulated, wanted, right=True).clamp(max=logits.shape[1] - 1)
        self._on_place(place + 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)  # type: ignore[return-value]


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values [texts, heads, tokens, width] of one layer, in memory that is taken once, not anew for each token."""

    def __init__(self, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._length = length
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._filled = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens; all of them."""
        if self._room is None:
            self.lazy_initialization(key_states, value_states)
            keys, values = (
                states.new_empty(*states.shape[:2], self._length, states.shape[3]) for states in (key_states, value_states)
            )
            self._room = keys, values
        end = self._filled + key_states.shape[2]
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, self._filled : end] = states
        self._filled = end
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        return self.keys, self.values


def roomy_cache(model: Any, length: int) -> DynamicCache | None:
    """A cache for texts of `length` tokens; None for a model that has a cache of its own kind."""
    if not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    cache.layers = [_RoomyLayer(length) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
