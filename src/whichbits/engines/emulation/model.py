"""A format's arithmetic in transformers: weights decompressed, activations quantized and dequantized in the forward pass.

The accuracy route for formats that the available engine has no kernel for. Says nothing about speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from whichbits.engines.emulation.float32_head import float32_head
from whichbits.engines.emulation.linear import ActivationQuantizer, emulated
from whichbits.engines.emulation.sampling import Drawn
from whichbits.engines.errors import EngineError
from whichbits.engines.http.completion import Generation
from whichbits.models import generation
from whichbits.models.float32_products import float32_products
from whichbits.models.tokenization import load_tokenizer

Item = TypeVar("Item")
LOADERS_ERRORS = (ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)
"""What the libraries raise for a checkpoint that they cannot load."""


class Emulated:
    """A checkpoint in transformers, with the same methods as a served one.

    threads: torch's threads, for this whole process. batch_tokens: padded tokens in one forward pass. dtype: of the arithmetic
    between the quantizers, the checkpoint's own unless given. trust_remote_code: whether Python code that comes with the
    checkpoint may run. The base checkpoint runs as it is.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        *,
        threads: int,
        batch_tokens: int = 2048,
        dtype: torch.dtype | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        self._tokenizer: Any = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code)
        self._model: Any = generation.neutral(_loaded(Path(checkpoint), dtype, trust_remote_code).eval())
        _emulate(self._model)
        self._ends = generation.end_ids(Path(checkpoint), self._model.config, self._tokenizer.eos_token_id)
        self._batch_tokens = batch_tokens

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        return int(self._model.config.get_text_config().max_position_embeddings)

    @torch.inference_mode()
    @float32_products()
    def logits(self, input_ids: Tensor) -> Tensor:
        """Next-token logits, float32 [..., tokens, vocabulary], of token ids [tokens] or [batch, tokens] without padding.

        The last norm and the head are computed in float32 (see `float32_head`).
        """
        batch = input_ids if input_ids.dim() == 2 else input_ids[None]
        with float32_head(self._model):
            found: Tensor = self._model(input_ids=batch, use_cache=False).logits
        return found if input_ids.dim() == 2 else found[0]

    @torch.inference_mode()
    @float32_products()
    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context (both token ids), and whether it is the greedy one.

        Raises ValueError where context and continuation together exceed `max_length`, or the context is empty.
        """
        results: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        scored = [index for index, (_, continuation) in enumerate(pairs) if continuation]
        for index in scored:
            self._check_length(pairs[index][0], len(pairs[index][1]))
            self._check_ids([*pairs[index][0], *pairs[index][1]])
        rows = {index: [*pairs[index][0], *pairs[index][1][:-1]] for index in scored}
        for chosen in self._batches(scored, rows):
            longest = max(len(pairs[index][1]) for index in chosen)
            logits = self._last_logits([rows[index] for index in chosen], longest)
            for row, index in zip(logits, chosen, strict=True):
                target = torch.tensor(pairs[index][1])
                own = row[-len(target) :].float()
                logprobs = own.log_softmax(-1).gather(-1, target[:, None])
                _check_finite(logprobs)
                results[index] = float(logprobs.double().sum()), bool((own.argmax(-1) == target).all())
        return results

    @torch.inference_mode()
    @float32_products()
    def next_token_logprobs(self, contexts: Sequence[Sequence[int]], token_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability (nats) of each given token as the next one after each context; one pass a context."""
        for context in contexts:
            self._check_length(context, 1)
            self._check_ids(context)
        results: list[list[float]] = [[] for _ in contexts]
        rows = {index: list(context) for index, context in enumerate(contexts)}
        for chosen in self._batches(list(rows), rows):
            logprobs = self._last_logits([rows[index] for index in chosen], 1)[:, 0].float().log_softmax(-1)
            for row, index in zip(logprobs, chosen, strict=True):
                chosen_logprobs = row[list(token_ids[index])]
                _check_finite(chosen_logprobs)
                results[index] = chosen_logprobs.tolist()
        return results

    @torch.inference_mode()
    @float32_products()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
        special_tokens: bool = False,
    ) -> list[Generation]:
        """Continue each prompt (token ids) until a stop string, the end-of-sequence token or `max_tokens`.

        A text does not hold the stop string that ended it, nor special tokens unless `special_tokens` asks for them. `seed` is
        one for all prompts, or one a prompt; what is drawn (at a temperature above 0) does not depend on which prompts share a
        batch. Raises ValueError where prompt and `max_tokens` together exceed `max_length`.
        """
        for prompt in prompts:
            self._check_length(prompt, max_tokens)
            self._check_ids(prompt)
        results: dict[int, Generation] = {}
        rows = {index: list(prompt) for index, prompt in enumerate(prompts)}
        seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
        options = self._options(max_tokens, stop)
        for chosen in self._batches(list(rows), rows, extra=max_tokens):
            ids, mask = _left_padded([rows[index] for index in chosen])
            draw = [Drawn([seeds[index] for index in chosen], temperature, top_p)] if temperature > 0 else []
            processors = [_finite_scores, *draw]
            made = self._model.generate(input_ids=ids, attention_mask=mask, logits_processor=processors, **options)
            new = made[:, ids.shape[1] :]
            results |= {index: self._text(row.tolist(), stop, special_tokens) for row, index in zip(new, chosen, strict=True)}
        return [results[index] for index in range(len(prompts))]

    def _options(self, max_tokens: int, stop: Sequence[str]) -> dict[str, Any]:
        """Options of `generate` that do not depend on the model's own sampling defaults; the likeliest token is taken."""
        config = generation.generation_config(self._ends, max_new_tokens=max_tokens)
        stopping = {"stop_strings": list(stop), "tokenizer": self._tokenizer} if stop else {}
        return {"generation_config": config, **stopping}

    def _text(self, made: list[int], stop: Sequence[str], special: bool = False) -> Generation:
        """Cut a row of generated ids at its end token or first stop string; `special` keeps other special tokens in it."""
        reason: Literal["stop", "length"] = "length"
        for position, token in enumerate(made):
            if token in self._ends:
                made, reason = made[: position + 1], "stop"
                break
        shown = made[:-1] if special and reason == "stop" else made
        text = self._tokenizer.decode(shown, skip_special_tokens=not special)
        places = [place for string in stop if (place := text.find(string)) >= 0]
        if not places:
            return Generation(text, len(made), reason)
        count = next(number for number in range(1, len(made) + 1) if self._stops(made[:number], stop))
        return Generation(text[: min(places)], count, "stop")

    def _stops(self, made: list[int], stop: Sequence[str]) -> bool:
        text = self._tokenizer.decode(made, skip_special_tokens=True)
        return any(string in text for string in stop)

    def _check_length(self, prompt: Sequence[int], more: int) -> None:
        if not prompt:
            raise ValueError("the context is empty")
        if len(prompt) + more > self.max_length:
            raise ValueError(f"{len(prompt)} tokens of context and {more} more exceed the model's {self.max_length}")

    def _check_ids(self, tokens: Sequence[int]) -> None:
        rows = self._model.get_input_embeddings().weight.shape[0]
        if max(tokens) >= rows:
            raise EngineError(
                f"token {max(tokens)} of a prompt is beyond the model's vocabulary of {rows}: the tokenizer is another model's"
            )

    def _batches(self, indices: list[int], rows: dict[int, list[int]], extra: int = 0) -> Iterator[list[int]]:
        """Indices of rows that go through the model together: alike in length, at most `batch_tokens` with padding."""
        batch: list[int] = []
        for index in sorted(indices, key=lambda index: len(rows[index]), reverse=True):
            longest = len(rows[batch[0]]) + extra if batch else 0
            if batch and longest * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _last_logits(self, rows: list[list[int]], positions: int) -> Tensor:
        """Logits [rows, positions, vocabulary] at the last positions of each row; the vocabulary only where it is needed."""
        ids, mask = _left_padded(rows)
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        found: Tensor = self._model(
            input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=positions
        ).logits
        return found


def _check_finite(logprobs: Tensor) -> None:
    """Raise EngineError for a log-probability that is no number: the first choice would win every comparison."""
    if not bool(logprobs.isfinite().all()):
        raise EngineError(f"the model gives log-probabilities that are not finite, in {logprobs.dtype} arithmetic")


def _finite_scores(input_ids: Tensor, scores: Tensor) -> Tensor:
    """A logits processor that changes nothing and raises EngineError where no token can be chosen."""
    if bool(scores.isnan().any()) or bool(scores.isposinf().any()):
        raise EngineError("the model gives logits that are not finite")
    return scores


def _left_padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [rows, longest] with zeros on the left, and the mask of what is not padding."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _loaded(checkpoint: Path, dtype: torch.dtype | None, trust_remote_code: bool) -> Any:
    """The checkpoint's model. Raises EngineError where some of its numbers would not be the checkpoint's."""
    from transformers import GenerationConfig

    from whichbits.engines.emulation.checkpoints import not_emulated
    from whichbits.engines.emulation.mixture import is_quantized_mixture, load_mixture
    from whichbits.formats.checkpoint.codes import BESIDE
    from whichbits.formats.checkpoint.files import tensor_files
    from whichbits.models.configuration import read_configuration
    from whichbits.models.patterns import refuse_patterns
    from whichbits.models.tensor_check import model_class

    configuration = read_configuration(checkpoint, trust_remote_code=trust_remote_code)
    if (why := not_emulated(configuration.quantization)) is not None:
        raise EngineError(why)
    refuse_patterns(checkpoint, configuration.quantization, tensor_files(checkpoint))
    if is_quantized_mixture(checkpoint, configuration.library):
        return load_mixture(checkpoint, configuration.library, dtype)
    own = model_class(configuration, checkpoint)
    try:
        model, found = own.from_pretrained(
            checkpoint,
            config=configuration.library,
            dtype=dtype or "auto",
            generation_config=GenerationConfig(),  # type: ignore[no-untyped-call]
            output_loading_info=True,
            **_attention(configuration.library.get_text_config()),
        )
    except LOADERS_ERRORS as error:
        raise _cannot_load("transformers", error) from error
    if found["missing_keys"]:
        lacking = sorted(found["missing_keys"])
        raise EngineError(f"the checkpoint lacks {len(lacking)} tensors of the model, {', '.join(lacking[:3])}")
    unread = sorted(name for name in found["unexpected_keys"] if name.rpartition(".")[2] in BESIDE)
    if unread:
        raise EngineError(f"transformers does not read {len(unread)} tensors that belong to codes, {', '.join(unread[:3])}")
    return model


def _cannot_load(who: str, error: Exception) -> EngineError:
    return EngineError(f"{who} cannot load the checkpoint: {' '.join(str(error).split())[:300]}")


def _attention(config: Any) -> dict[str, str]:
    """How attention is asked for: plainly where scores are capped (Gemma 2), since transformers' others leave the cap out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) is not None else {}


def _emulate(model: Any) -> None:
    """Replace the linear layers that have a quantization scheme by their emulation."""
    quantizers: dict[str, ActivationQuantizer] = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and getattr(module, "quantization_scheme", None) is not None:
            try:
                emulation = emulated(module, model.dtype, quantizers)
            except LOADERS_ERRORS as error:
                raise _cannot_load(f"{name}: compressed-tensors", error) from error
            model.set_submodule(name, emulation)
