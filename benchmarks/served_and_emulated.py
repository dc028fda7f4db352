"""Where a checkpoint that vLLM serves answers `recall` otherwise than its emulation in transformers, and why.

    python benchmarks/served_and_emulated.py CHECKPOINT... --served --changes "last bit" nearest kernel cut

An item's answer is one token. Asked for are the log-probabilities of the ten words that its prompt shows. An item is right
where the answer is the likeliest of them. Its margin is the answer's log-probability less that of the likeliest other.

The emulation is compared with the served model, and with itself where one thing is changed in it (Llama's layers alone):

- last bit: of each token's embedding one number is moved by its last bit.
- nearest: norms are taken of the sum before it is rounded; rotary embeddings and attention are computed in float32 and rounded
  once. This is what vLLM computes, and no less right.
- kernel: the linear layers of a w8a8-int checkpoint are computed by vLLM's kernel.
- cut: the second and the third, and what is rounded is cut, as vLLM does on processors without BF16 instructions. The served
  model is compared with this too.

Printed are for each pair: both scores, flips up and down, the difference in points with its 95 % interval, the number of items
with another likeliest word, and of the differences of margins (nats) the mean with its 95 % interval and the standard
deviation. A shift shows in the margins' mean long before it does in flips.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama

import vllm_on_cpu
from whichbits.accuracy.kinds.generated import documents
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.engines.emulation.linear import EmulatedLinear
from whichbits.engines.emulation.model import Emulated
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.configuration import read_configuration

MAX_LENGTH, CONCURRENCY = 1024, 16
CHANGES = ("last bit", "nearest", "kernel", "cut")

Logprobs = NDArray[np.float64]
Rounding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Question:
    """A prompt and the words that it shows, the answer first, as token ids."""

    prompt: list[int]
    words: list[int]


def questions(checkpoint: Path, items: int, seed: int) -> list[Question]:
    """Items of `recall` drawn from a seed."""
    tokenizer = PromptTokenizer(checkpoint)
    found = []
    for document in documents("recall", items, version=1, seed=seed):
        shown = document["prompt"].rstrip(":").replace(":", ",").split(", ")
        words = [tokenizer.encode(f" {word}", special=False) for word in dict.fromkeys((document["target"], *shown))]
        if any(len(word) != 1 for word in words):
            raise SystemExit(f"{checkpoint}: not every word is one token")
        found.append(Question(tokenizer.encode(document["prompt"]), [word[0] for word in words]))
    return found


def ask(model: Endpoint | Emulated, asked: Sequence[Question]) -> Logprobs:
    """Log-probabilities (nats) [items, words] of the words shown."""
    return np.array(model.next_token_logprobs([each.prompt for each in asked], [each.words for each in asked]))


def served(checkpoint: Path, asked: Sequence[Question]) -> Logprobs:
    """Those of vLLM, as a study serves it."""
    settings = serving_settings(
        describe(), read_configuration(checkpoint).kv_bytes_per_token, max_length=MAX_LENGTH, max_concurrency=CONCURRENCY
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(
            find_vllm(), checkpoint, arguments=settings.arguments, environment=settings.environment,
            log=Path(folder) / "log.txt", cpus=processors(settings.server_cpus),
        ) as server,
        Endpoint(server.url, server.model, max_length=MAX_LENGTH, concurrency=CONCURRENCY) as endpoint,
    ):  # fmt: skip
        return ask(endpoint, asked)


def emulated(checkpoint: Path, asked: Sequence[Question], change: str | None = None) -> Logprobs:
    """Those of the emulation, with a change."""
    model = Emulated(checkpoint, threads=1)
    if change in ("kernel", "cut"):
        use_kernel(model._model)
    if change == "last bit":
        model._model.model.layers[0].register_forward_pre_hook(_move_last_bit)
    if change not in ("nearest", "cut"):
        return ask(model, asked)
    with vllm_between_layers(vllm_on_cpu.nearest if change == "nearest" else vllm_on_cpu.cut):
        return ask(model, asked)


def _move_last_bit(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    moved = inputs[0].clone()
    moved.view(torch.int16)[..., 0] += 1
    return moved, *inputs[1:]


def use_kernel(model: Any) -> None:
    """Have the quantized linear layers, if there are any, computed by vLLM's INT8 kernel."""
    handlers: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, EmulatedLinear) and module.weight_scale is not None:
            codes, scale = module.weight.to(torch.int8), module.weight_scale.view(-1, 1).contiguous()
            module.weight = codes
            module.forward = (
                lambda x, codes=codes, scale=scale: vllm_on_cpu.kernel(  # type: ignore[method-assign]
                    x.flatten(0, -2), codes, scale, handlers
                ).unflatten(0, x.shape[:-1])
            )


def _sum(states: Tensor, more: Tensor) -> Tensor:
    """The sum in BF16, which carries what it was rounded from."""
    exact = states.float() + more.float()
    rounded = exact.bfloat16()
    rounded.exact = exact  # type: ignore[attr-defined]
    return rounded


def _norm(self: Any, states: Tensor) -> Tensor:
    """RMS norm of the sum before it was rounded."""
    exact = getattr(states, "exact", states.float())
    scaled = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * scaled.bfloat16()


def _layer(self: Any, hidden_states: Tensor, **options: Any) -> Tensor:
    attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **options)
    hidden_states = _sum(hidden_states, attended)
    return _sum(hidden_states, self.mlp(self.post_attention_layernorm(hidden_states)))


@contextmanager
def vllm_between_layers(rounding: Rounding) -> Iterator[None]:
    """Have Llama's norms, rotary embeddings and attention computed as vLLM does, the latter two rounded by `rounding`."""

    def rotate(queries: Tensor, keys: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        rotated = (rounding(vllm_on_cpu.rotated(each, cos[:, None], sin[:, None])) for each in (queries, keys))
        return next(rotated), next(rotated)

    def attend(
        _: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, scaling: float, **options: Any
    ) -> tuple[Tensor, None]:
        tokens = queries.shape[-2]
        seen = torch.ones(tokens, tokens, dtype=torch.bool).tril() if mask is None else mask
        exact = vllm_on_cpu.attention(queries, keys, values, seen if seen.dtype == torch.bool else seen == 0, scaling)
        return rounding(exact).transpose(1, 2).contiguous(), None

    with (
        patch.object(modeling_llama.LlamaDecoderLayer, "forward", _layer),
        patch.object(modeling_llama.LlamaRMSNorm, "forward", _norm),
        patch.object(modeling_llama, "apply_rotary_pos_emb", rotate),
        patch.dict(ALL_ATTENTION_FUNCTIONS._global_mapping, {"sdpa": attend}),
    ):
        yield


def report(name: str, one: Logprobs, other: Logprobs) -> None:
    """Print one line of a pair of runs."""
    right, before = (each.argmax(1) == 0 for each in (one, other))
    moved = right.astype(float) - before
    margins, margins_before = (each[:, 0] - each[:, 1:].max(1) for each in (one, other))
    shift, half = margins - margins_before, 1.96 / len(one) ** 0.5
    words = (one.argmax(1) != other.argmax(1)).sum()
    print(
        f"{name:28} {right.mean():.3f} {before.mean():.3f}  flips +{(moved > 0).sum()} -{(moved < 0).sum()}  "
        f"points {100 * moved.mean():+.1f} ± {100 * half * moved.std():.1f}  other words {words}  "
        f"margin {shift.mean():+.3f} ± {half * shift.std():.3f}, sd {shift.std():.2f}",
        flush=True,
    )


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1, help="of the items; a study's are of 0")
    parser.add_argument("--served", action="store_true", help="start vLLM too")
    parser.add_argument("--changes", nargs="*", choices=CHANGES, default=())
    options = parser.parse_args()
    for checkpoint in options.checkpoints:
        asked = questions(checkpoint, options.items, options.seed)
        print(f"{checkpoint.name}: {len(asked)} items of recall")
        plain = emulated(checkpoint, asked)
        changed = {change: emulated(checkpoint, asked, change) for change in options.changes}
        for change, found in changed.items():
            report(f"{change} - emulated", found, plain)
        if options.served:
            found = served(checkpoint, asked)
            report("served - emulated", found, plain)
            if "cut" in changed:
                report("served - cut", found, changed["cut"])


if __name__ == "__main__":
    main()
