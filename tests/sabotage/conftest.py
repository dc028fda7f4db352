"""A small model whose own first choices are the right answers, so that whatever damages it lowers its score."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "islet", "jetty",
    "kiosk", "lemon", "maple", "north", "ocean", "pearl", "quartz", "river", "stone", "tulip",
)  # fmt: skip


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama (BF16, width 64) with a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("small")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.15, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_quantized(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in w8a8-int, rounded to nearest."""
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Recipe

    folder = tmp_path_factory.mktemp("quantized") / "w8a8-int"
    quantize_checkpoint(small_model, get("w8a8-int"), Recipe(scales="minmax"), folder)
    return folder


@pytest.fixture(scope="session")
def own_choices(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL task of 200 items with four choices, of which the model's own first choice is the answer."""
    from transformers import AutoTokenizer

    from whichbits.engines.emulation.model import Emulated

    draw = random.Random(0)
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    questions = [" ".join(draw.choices(WORDS, k=6)) for _ in range(200)]
    choices = [draw.sample(WORDS, 4) for _ in questions]
    pairs = [
        (tokenizer(question)["input_ids"], tokenizer(" " + choice, add_special_tokens=False)["input_ids"])
        for question, listed in zip(questions, choices, strict=True)
        for choice in listed
    ]
    likelihoods = [value for value, _ in Emulated(small_model, threads=1).loglikelihood(pairs)]
    path = tmp_path_factory.mktemp("task") / "own.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for index, (question, listed) in enumerate(zip(questions, choices, strict=True)):
            own = likelihoods[4 * index : 4 * index + 4]
            file.write(json.dumps({"question": question, "choices": listed, "answer": own.index(max(own))}) + "\n")
    return path


class ModelServer(ThreadingHTTPServer):
    """Serves a checkpoint by transformers, one request at a time. `damage` changes the scores, texts or counts of an answer.

    It may also be exchanged while the server runs: `model` is what answers, `started` what /metrics says of its start.
    """

    daemon_threads = True

    def __init__(self, folder: Path, name: str = "small") -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name, self.folder, self.started, self.damage = name, folder, 5.0, no_damage
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), ModelHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


Damaged = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes an answer, given the request."""


def no_damage(answer: dict[str, Any], request: dict[str, Any]) -> None:
    """An answer as it should be."""


class ModelHandler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, body: Any) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if text[:1] == b"{" else "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        match self.path:
            case "/v1/models":
                self.send({"data": [{"id": self.server.name, "owned_by": "vllm", "max_model_len": 256}]})
            case "/version":
                self.send({"version": "1.2"})
            case "/metrics":
                self.send(f"process_start_time_seconds {self.server.started}\n")
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request.get("stream"):
            return self.stream(request)
        with self.server.lock:
            answer = self.completion(request)
        self.server.damage(answer, request)
        self.send(answer)

    def stream(self, request: dict[str, Any]) -> None:
        """An answer token by token, each after 10 ms, of one request at a time; the damage is done to its usage."""
        import torch

        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        whole = list(request["prompt"])
        for made in range(1, request["max_tokens"] + 1):
            with self.server.lock, torch.inference_mode():
                time.sleep(0.01)
                whole.append(int(self.server.model(torch.tensor([whole])).logits[0, -1].argmax()))
            choice = {"index": 0, "text": self.server.tokenizer.decode(whole[-1:]), "finish_reason": None}
            usage = {"prompt_tokens": len(request["prompt"]), "completion_tokens": made, "total_tokens": len(whole)}
            answer = {"object": "text_completion", "model": request["model"], "choices": [choice], "usage": usage}
            if made == 1:
                self.server.damage(answer, request)
            self.wfile.write(f"data: {json.dumps(answer)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        import torch

        prompt: list[int] = request["prompt"]
        whole = list(prompt)
        with torch.inference_mode():
            for _ in range(request["max_tokens"]):
                logits = self.server.model(torch.tensor([whole])).logits[0].float()
                whole.append(int(logits[-1].argmax()))
                if whole[-1] == self.server.tokenizer.eos_token_id and not request.get("ignore_eos"):
                    break
            rows = self.server.model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
        made = whole[len(prompt) :]
        reason = "stop" if made[-1] == self.server.tokenizer.eos_token_id else "length"
        text = self.server.tokenizer.decode(made, skip_special_tokens=True)
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        if request.get("logprobs") is not None:
            places = range(0 if request.get("echo") else len(prompt), len(whole))
            tops: list[dict[str, float] | None] = []
            for place in places:
                named = {whole[place], *(request.get("logprob_token_ids", []) if place == len(prompt) else [])}
                row = rows[place - 1]
                tops.append({f"token_id:{one}": float(row[one]) for one in {*named, int(row.argmax())}} if place else None)
            names = [f"token_id:{whole[place]}" for place in places]
            own = [None if top is None else top[name] for name, top in zip(names, tops, strict=True)]
            choice["logprobs"] = {"tokens": names, "token_logprobs": own, "top_logprobs": tops}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(made), "total_tokens": len(whole)}
        return {"object": "text_completion", "model": request["model"], "choices": [choice], "usage": usage}


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], ModelServer]]:
    """Serves a checkpoint until the tests end."""
    servers: list[ModelServer] = []

    def start(folder: Path) -> ModelServer:
        servers.append(ModelServer(folder))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
