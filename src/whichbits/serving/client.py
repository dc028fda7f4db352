"""GuideLLM's HTTP client, with prompts by token id and one time stamp for each chunk of tokens.

GuideLLM's own request handler counts a chunk only where it carries text, so a first token that decodes to nothing
(a special token, half a character) would be missed; this one goes by the token counts that the server sends.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from guidellm.backends.openai.http import OpenAIHTTPBackend
from guidellm.backends.openai.request_handlers import TextCompletionsRequestHandler
from guidellm.schemas import GenerationRequest, GenerationRequestArguments, GenerationResponse
from guidellm.schemas.backends import OpenAIHTTPBackendArgs
from numpy.typing import NDArray

from whichbits.serving.prompts import prompt


class TokenCountingHandler(TextCompletionsRequestHandler):
    """Counts tokens by the server's running usage (`continuous_usage_stats`), by chunks with text where it sends none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tokens = 0
        self.chunk_times: list[float] = []

    def add_streaming_line(self, line: str) -> int | None:
        """Tokens that this line of the stream brings; None at its end."""
        data = self.extract_line_data(line)
        if not data:
            return None if data is None else 0
        usage = data.get("usage")
        if usage:
            self.streaming_usage = usage
        choices = data.get("choices")
        if not choices:
            return 0
        new: int = usage["completion_tokens"] - self.tokens if usage else int(bool(choices[0].get("text")))
        if new > 0:
            self.chunk_times.append(time.monotonic())
            self.tokens += new
        return new

    def compile_streaming(self, request: GenerationRequest, arguments: GenerationRequestArguments) -> GenerationResponse:
        """Token counts and the gaps between chunks in seconds; prompt and text stay here, off the worker's pipe."""
        input_metrics, output_metrics = self.extract_metrics(self.streaming_usage, "")
        return GenerationResponse(
            request_id=request.request_id,
            request_args=None,
            input_metrics=input_metrics,
            output_metrics=output_metrics,
            response_metrics={"gaps_s": np.diff(self.chunk_times).tolist(), "chunks": len(self.chunk_times)},
        )

    def post_validation(self, response: GenerationResponse) -> None:
        """Raise ValueError where the server did not say how many tokens it made."""
        if self.streaming_usage is None:
            raise ValueError("the server sent no token usage")


class TokenIdBackend(OpenAIHTTPBackend):
    """GuideLLM's OpenAI backend: token ids as the prompt, output of exactly `output_tokens`, greedy, pinned to `cpus`."""

    def __init__(
        self,
        arguments: OpenAIHTTPBackendArgs,
        *,
        vocabulary: NDArray[np.int32],
        prompt_tokens: int,
        output_tokens: int,
        seed: int,
        rung: str,
        cpus: frozenset[int],
    ) -> None:
        super().__init__(arguments)
        self._vocabulary = vocabulary
        self._prompt_tokens = prompt_tokens
        self._output_tokens = output_tokens
        self._seed = seed
        self._rung = rung
        self._cpus = cpus

    async def process_startup(self) -> None:
        """Bind this worker to the client's cores, then start as GuideLLM does."""
        os.sched_setaffinity(0, self._cpus)
        await super().process_startup()  # type: ignore[no-untyped-call]

    async def _prepare_resolve_request(
        self, request: GenerationRequest, history: list[Any] | None = None
    ) -> tuple[TokenCountingHandler, GenerationRequestArguments, dict[str, Any]]:
        index = int(request.request_id)
        body = {
            "model": self._args.model,
            "prompt": prompt(self._vocabulary, self._prompt_tokens, seed=self._seed, rung=self._rung, index=index),
            "max_tokens": self._output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        arguments = GenerationRequestArguments(stream=True, body=body)
        url = f"{self._args.target}/{self._args.api_routes['/v1/completions']}"
        return TokenCountingHandler(), arguments, {"url": url, "method": "POST", "headers": self._build_headers(), "json": body}
