"""Fixtures that several packages share."""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SLOW = (
    "accuracy/kinds/test_arena_hard.py",
    "accuracy/kinds/test_code.py",
    "accuracy/kinds/test_lm_eval.py",
    "accuracy/kinds/test_lm_eval_named.py",
    "accuracy/kinds/test_ruler.py",
    "accuracy/sandbox",
    "accuracy/test_earlier_items.py",
    "accuracy/test_lm_eval_model.py",
    "accuracy/test_run_lm_eval.py",
    "accuracy/test_samples.py",
    "accuracy/test_scoring_timeout.py",
    "accuracy/test_shards.py",
    "accuracy/test_suites.py",
    "accuracy/thinking/test_evaluated.py",
    "cli",
    "core/test_import_path.py",
    "core/test_terminal.py",
    "engines/emulation/test_model.py",
    "engines/test_served_weights.py",
    "models/test_embedded.py",
    "models/test_quantized.py",
    "prediction/training/test_fit.py",
    "quantization/calibration/test_data.py",
    "quantization/calibration/test_dataset.py",
    "quantization/mixed_precision/test_search.py",
    "quantization/passes/test_calibrated.py",
    "quantization/passes/test_direct.py",
    "quantization/passes/test_forward_check.py",
    "quantization/passes/test_pipeline.py",
    "quantization/statistics/test_residual_stream.py",
    "quantization/test_architectures.py",
    "quantization/test_command.py",
    "quantization/test_formats.py",
    "quantization/test_outside.py",
    "quantization/test_process.py",
    "quantization/test_process_memory.py",
    "quantization/test_stored_tensors.py",
    "reference",
    "remedies",
    "reporting/test_browser.py",
    "sabotage",
    "serving/test_capacity.py",
    "serving/test_measure.py",
    "serving/test_natural_output.py",
    "serving/test_prefill_decode.py",
    "serving/test_rounds.py",
    "similarity/test_measures.py",
    "similarity/test_texts.py",
    "studies/execution",
    "studies/planning/test_addresses.py",
    "studies/planning/test_emulation.py",
    "studies/planning/test_planner.py",
    "studies/planning/test_stages.py",
    "studies/store/test_lease.py",
    "studies/test_identity.py",
    "studies/test_judged_against_base.py",
    "studies/test_judged_study.py",
    "studies/test_outside.py",
    "studies/test_outside_task_kind.py",
    "studies/test_processes.py",
    "studies/test_remote_code.py",
    "studies/test_study.py",
    "studies/test_study_in_shards.py",
    "studies/test_thinking_study.py",
    "studies/test_traps.py",
    "studies/test_until_decided.py",
    "verdict/test_error_rates.py",
)
"""What `make test-fast` leaves out: these tests load models, start processes, or draw thousands of studies."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with servers first, then those in `SLOW`, which are marked: short ones come last, so that workers end together."""
    here = Path(__file__).parent
    slow = tuple(here / name for name in SLOW)
    for item in items:
        if any(item.path.is_relative_to(place) for place in slow):
            item.add_marker(pytest.mark.slow)
    with_servers = {item.path for item in items if item.get_closest_marker("server")}
    items.sort(key=lambda item: (item.path not in with_servers, item.get_closest_marker("slow") is None))


@pytest.fixture(autouse=True)
def calibration_texts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Text that a test's models generate for their calibration is kept here, for this test alone."""
    own = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    folder = tmp_path_factory.getbasetemp() / "calibration-texts" / own
    monkeypatch.setattr("whichbits.quantization.calibration.kept_text.cache_directory", lambda: folder)
    return folder / "calibration"


@pytest.fixture(scope="session")
def bring() -> Callable[..., Path]:
    """Writes a package `brought`, version 1.0, into a folder as pip installs it: its files and the text of its entry points."""

    def write(folder: Path, files: Mapping[str, str], entry_points: str) -> Path:
        package = folder / "brought-1.0.dist-info"
        package.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(entry_points)
        return folder

    return write


@pytest.fixture(scope="session")
def written() -> Any:
    """Loads with known delays, and what writes them in the form of each tool that speeds are imported from."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "serving" / "importers" / "written.py")))


@pytest.fixture
def put_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Makes the package `brought` of a folder importable in one test, whatever another test imported under that name."""

    def put(folder: Path) -> None:
        sys.modules.pop("brought", None)
        monkeypatch.syspath_prepend(str(folder))

    yield put
    sys.modules.pop("brought", None)


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """Folder of the embedded BF16 SmolLM2-135M-Instruct checkpoint, converted once and cached."""
    pytest.importorskip("torch")
    from whichbits.models.resolve import resolve

    return resolve("smollm2-135m-instruct").path


@pytest.fixture
def serve_step() -> Callable[[Any], Any]:
    """A step `serve` of a workload, as a study plans it on this machine."""
    from whichbits.hardware.this_machine import describe
    from whichbits.schema.engine import StartedEngine
    from whichbits.schema.labels import Labels
    from whichbits.schema.serve import ServeInputs, ServeLocal
    from whichbits.schema.session import Devices, Servers
    from whichbits.schema.step import Step
    from whichbits.studies.steps.serve import requests_of

    def planned(workload: Any) -> Step:
        engine = StartedEngine(
            version="1", command=None, model_name="m", arguments={}, environment={}, max_length=64, concurrency=1
        )
        named, digest, path = requests_of(workload)
        inputs = ServeInputs(
            base={}, workload=named, requests=digest, engine=engine, servers=Servers(), hardware=describe().key(),
            deployment=Devices(hardware="here", count=1), repeat=0, seed=0,
        )  # fmt: skip
        labels = Labels(candidate="w8a8-int", workload=workload.name, deployment="here", repeat=0)
        here = Path("here")
        return Step(
            "serve",
            2,
            inputs,
            labels=labels,
            local=ServeLocal(base="bf16", base_checkpoint=here, tokenizer=here, requests=path),
        )

    return planned


@pytest.fixture
def start_engine() -> Iterator[Callable[..., str]]:
    """Starts `serving/engine.py` with options and gives its URL; ends it after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(**options: Any) -> str:
        script = Path(__file__).parent / "serving" / "engine.py"
        process = subprocess.Popen([sys.executable, str(script), json.dumps(options)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tokenizer of 3,000 words and two special tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {"<unk>": 0, "<eos>": 1} | {f"w{i}": i + 2 for i in range(3000)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """Folder of a random two-layer Llama (BF16, width 128, the embedded model's tokenizer)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def save_tokenizer() -> Callable[..., int]:
    """Writes a byte-level tokenizer of 300 tokens into a folder; returns its length.

    `before` and `after` are the special tokens that it puts around a text; ids: <s> 0, </s> 1, <pad> 2, <|im_start|> 3,
    <|im_end|> 4. `prefix_space` puts a space before a text, as sentencepiece does.
    """
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
    words = "the cat sat on the mat and the dog ran to the old house near the river bank\n" * 4

    def save(
        folder: Path,
        *,
        before: tuple[str, ...] = ("<s>",),
        after: tuple[str, ...] = (),
        template: str | None = CHAT_TEMPLATE,
        bos: str | None = "<s>",
        prefix_space: bool = False,
    ) -> int:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator([words], trainer)
        backend.post_processor = processors.TemplateProcessing(
            single=" ".join([*before, "$A", *after]), special_tokens=[(token, special.index(token)) for token in special]
        )
        fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token="</s>", pad_token="<pad>")
        fast.chat_template = template
        fast.save_pretrained(folder)
        return len(fast)

    return save
