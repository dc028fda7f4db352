"""lm-evaluation-harness's view of a `LanguageModel`: token ids, explicit lengths, nothing cut silently, nothing cached."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from whichbits.accuracy.answers import ENGINE_STOPS, check_fits, replied
from whichbits.accuracy.harness import HarnessDocument
from whichbits.accuracy.result import Work, text_hash
from whichbits.accuracy.sampling import sample_seed
from whichbits.accuracy.thinking.thought import answer_of, begun_thought
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel
from whichbits.schema.sampling import Sampling

LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
KNOWN = {"until", "do_sample", "temperature", "top_p", *LENGTH_NAMES}


@dataclass(frozen=True)
class _Limits:
    """How one group of answers is generated."""

    max_tokens: int
    stop: tuple[str, ...]
    temperature: float
    top_p: float


class LmEvalModel(TemplateLM):  # type: ignore[misc]
    """A `LanguageModel` behind lm-evaluation-harness's `TemplateLM`.

    `max_gen_toks` holds where a task states no generation limit of its own; None then is an error. `templated` says that
    contexts are what a chat template wrote: they get no special tokens. Where `sampling` has a temperature, it replaces what
    requests say, and each of them has a seed of its own, of its `sample`-th answer. Of documents that are
    not `asked` answers are empty, and nothing is counted for them; they are told by task and number. None asks all.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: PromptTokenizer,
        *,
        max_gen_toks: int | None,
        seed: int,
        task: str,
        templated: bool = False,
        sampling: Sampling | None = None,
        sample: int = 0,
        asked: Collection[HarnessDocument] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.prompt_tokenizer = tokenizer
        self.tokenizer = tokenizer.hf
        self.max_length = model.max_length
        self.max_gen_toks = max_gen_toks
        self.seed = seed
        self.task = task
        self.templated = templated
        self.sampling = sampling or Sampling()
        self.sample = sample
        self.asked = asked
        self.work = Work()

    @property
    def eot_token_id(self) -> int:
        """Id of the end-of-sequence token."""
        return self.prompt_tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """Id of the token that an empty context stands for."""
        return self.prompt_tokenizer.prefix_token_id

    @property
    def tokenizer_name(self) -> str:
        """Path of the tokenizer."""
        return self.prompt_tokenizer.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text; of what a template wrote without special tokens."""
        special = False if self.templated else add_special_tokens
        return self.prompt_tokenizer.encode(string, special=special)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Text of a conversation in the tokenizer's chat template."""
        return self.prompt_tokenizer.chat(chat_history, answer_begun=not add_generation_prompt)

    def _count(self, prompt_tokens: int, generated_tokens: int) -> None:
        self.work += Work(prompt_tokens, generated_tokens)

    def _asked(self, requests: Sequence[Instance]) -> list[int]:
        """Indices of the requests that go to the model."""
        every = range(len(requests))
        return [at for at in every if self.asked is None or (requests[at].task_name, requests[at].doc_id) in self.asked]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation, and whether it is the greedy one."""
        if self.prompt_tokenizer.mode is not None:
            raise UserError(
                f"modes: task {self.task} compares the likelihoods of choices, and draws no reply to think in",
                remedy="leave modes out of this task: modes: []",
            )
        answers = [(0.0, False)] * len(requests)
        asked = self._asked(requests)
        if asked:
            found = super().loglikelihood([requests[index] for index in asked], disable_tqdm)
            for index, answer in zip(asked, found, strict=True):
                answers[index] = answer
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation, and whether it is the greedy one."""
        for (context, continuation), context_ids, continuation_ids in requests:
            if not continuation_ids:
                raise UserError(
                    f"task: {self.task} has an answer {continuation!r} that adds no token of its own to its question "
                    f"(which ends with {context[-40:]!r})",
                    remedy="separate question and answer by a space, or leave the item out",
                )
            check_fits(self.task, len(context_ids), len(continuation_ids), self.max_length)
        pairs = [(context_ids, continuation_ids) for _text, context_ids, continuation_ids in requests]
        self._count(sum(len(context) + len(continuation) for context, continuation in pairs), 0)
        return self.model.loglikelihood(pairs)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Refused: a perplexity is no score of an item."""
        raise UserError(
            f"task: {self.task} measures perplexity, which has no score from 0 to 1 for each item",
            remedy="compare perplexities through the study's next-token distributions instead",
        )

    def _limits(self, arguments: Mapping[str, Any]) -> _Limits:
        """The generation arguments of a request, all of them understood."""
        unknown = {name: value for name, value in arguments.items() if name not in KNOWN}
        if unknown:
            raise UserError(
                f"task: {self.task} asks for generation arguments that are not supported: {unknown}",
                remedy=f"use only {', '.join(sorted(KNOWN))}",
            )
        if self.max_gen_toks is None and not any(arguments.get(name) is not None for name in LENGTH_NAMES):
            raise UserError(
                f"task: {self.task} states no limit on the answer's length", remedy="set max_tokens in the task's definition"
            )
        settled = normalize_gen_kwargs(dict(arguments), self.max_gen_toks or 0)
        temperature, top_p = self.sampling.temperature, self.sampling.top_p
        if temperature == 0 and settled.get("do_sample"):
            temperature, top_p = float(settled["temperature"]), float(arguments.get("top_p") or 1.0)
        stop = tuple(stop for stop in settled["until"] if stop)
        return _Limits(int(settled["max_gen_toks"]), stop, temperature, top_p)

    def _seeds(self, prompts: Sequence[str]) -> int | list[int]:
        if self.sampling.temperature == 0:
            return self.seed
        return [sample_seed(self.seed, text_hash(prompt), self.sample) for prompt in prompts]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue each context until one of its stop strings, which is cut off.

        In a thinking mode that is the answer alone: it is empty where the thought does not end.
        """
        groups: dict[_Limits, list[int]] = defaultdict(list)
        for index in self._asked(requests):
            groups[self._limits(requests[index].args[1])].append(index)
        texts = [""] * len(requests)
        for limits, indices in groups.items():
            prompts = [self.tok_encode(requests[index].args[0]) for index in indices]
            for prompt in prompts:
                check_fits(self.task, len(prompt), limits.max_tokens, self.max_length)
            thinks = self.prompt_tokenizer.mode is not None
            began = time.monotonic()
            generations = self.model.generate(
                prompts,
                max_tokens=limits.max_tokens,
                stop=() if thinks else limits.stop[:ENGINE_STOPS],
                temperature=limits.temperature,
                top_p=limits.top_p,
                seed=self._seeds([requests[index].args[0] for index in indices]),
                special_tokens=self.prompt_tokenizer.marks_are_special,
            )
            self._count(sum(map(len, prompts)), sum(generation.tokens for generation in generations))
            if thinks:
                contexts = [requests[index].args[0] for index in indices]
                self.work += replied(contexts, generations, time.monotonic() - began)
                for index, context, generation in zip(indices, contexts, generations, strict=True):
                    texts[index] = answer_of(begun_thought(context) + generation.text, limits.stop)
                continue
            for index, generation in zip(indices, generations, strict=True):
                texts[index] = postprocess_generated_text(generation.text, list(limits.stop), None)
        return texts
