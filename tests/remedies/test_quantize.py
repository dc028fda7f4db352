"""The remedies of `whichbits.quantize`, followed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whichbits.formats.format import get
from whichbits.models.configuration import Configuration
from whichbits.quantize.arguments import budget_of, source_of
from whichbits.quantize.budget import Option, assign
from whichbits.quantize.effort import recipe_for
from whichbits.quantize.named import recipe_fields
from whichbits.quantize.recipe import Calibration, parse
from whichbits.quantize.resume import LayerStore
from whichbits.quantize.structure import layer_linears

WITH = "model.layers.0.mlp.up_proj.weight"


def test_a_budget_that_is_none(follow: Any) -> None:
    for text in ("4.5bits", "0.01error"):
        raised = follow("budget {text} is none", mistake=lambda: budget_of("4.5"), remedy=partial(budget_of, text))
        assert text in raised.remedy


OPTIONS = [Option("a", "w4a16-int", 4.0, 2.0), Option("a", "w8a8-int", 8.0, 1.0)]


@pytest.mark.parametrize("helps", [{"bits": 4}, {"bits": 3, "options": [*OPTIONS, Option("a", "smaller", 2.0, 9.0)]}])
def test_a_budget_of_bits(follow: Any, helps: dict[str, Any]) -> None:
    follow(
        "that the smallest formats take",
        mistake=lambda: assign(OPTIONS, bits=3),
        remedy=lambda: assign(**{"options": OPTIONS, **helps}),
    )


@pytest.mark.parametrize("helps", [{"error": 1}, {"error": 0.5, "options": [*OPTIONS, Option("a", "bf16", 16.0, 0.0)]}])
def test_a_budget_of_error(follow: Any, helps: dict[str, Any]) -> None:
    follow(
        "that the most exact formats make",
        mistake=lambda: assign(OPTIONS, error=0.5),
        remedy=lambda: assign(**{"options": OPTIONS, **helps}),
    )


def test_a_calibration_in_one_word(follow: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("text")
    follow(
        "calibration file {name} does not exist",
        mistake=lambda: source_of(str(tmp_path / "test.txt")),
        remedy=lambda: source_of(str(file)),
    )
    follow(
        "is no option of a data set",
        mistake=lambda: source_of("owner/name,part=train"),
        remedy=lambda: source_of("owner/name,split=train,config=main,fields=a+b,revision=main"),
    )


def test_an_effort(follow: Any) -> None:
    raised = follow(
        "effort {effort} is not known",
        mistake=lambda: recipe_for(get("w8a8-int"), "most", {}),
        remedy=lambda: recipe_for(get("w8a8-int"), "best", {}),
    )
    for effort in raised.remedy.removeprefix("choose one of ").split(", "):
        recipe_for(get("w8a8-int"), effort, {})


@pytest.mark.parametrize(
    ("mistake", "remedies"),
    [
        ({"rounding": "gptq", "damp": 0.1}, [{"rounding": "gptq", "damping": 0.1}]),
        ({"calibration": {"sample": 8}}, [{"calibration": {"samples": 8}}]),
        ({"layers": [{"match": "re:.*"}]}, [{"layers": [{"match": "re:.*", "format": "bf16"}]}]),
        ({"rounding": "gptq", "damping": "much"}, [{"rounding": "gptq", "damping": 0.1}, {"rounding": "gptq"}]),
        ({"calibration": {"source": "text"}}, [{"calibration": {"source": "text", "file": "a.txt"}}, {}]),
        ({"smoothing": 0.5, "balancing": 1.0}, [{"smoothing": 0.5}, {"balancing": 1.0}]),
        (
            {"rounding": "gptq", "asymmetric": 0.5, "propagate_error": False},
            [{"rounding": "gptq", "asymmetric": 0.5}, {"rounding": "gptq", "propagate_error": False}],
        ),
    ],
)
def test_fields_of_a_recipe(follow: Any, mistake: dict[str, Any], remedies: list[dict[str, Any]]) -> None:
    for fields in remedies:
        follow("{…}: {message}{value}", mistake=lambda: parse(mistake), remedy=partial(parse, fields))


@pytest.mark.parametrize("idle", [{"damping": 0.1}, {"damping": 0.1, "sensitivity": 1, "propagate_error": False}])
def test_a_field_that_does_nothing(follow: Any, idle: dict[str, Any]) -> None:
    for fields in ({"rounding": "rtn"}, {"rounding": "gptq", **idle}):
        raised = follow(
            "{…}: {message}{value}", mistake=lambda: parse({"rounding": "rtn", **idle}), remedy=partial(parse, fields)
        )
    assert raised.remedy == f"leave {', '.join(sorted(idle))} out, or choose rounding: gptq"


def test_a_recipe_by_name(follow: Any, tmp_path: Path) -> None:
    raised = follow(
        "is neither a file nor a name", mistake=lambda: recipe_fields("nearst"), remedy=lambda: recipe_fields("nearest")
    )
    assert raised.remedy.startswith("did you mean nearest? ")
    for name in raised.remedy.partition("names: ")[2].split(", "):
        parse({key: value for key, value in recipe_fields(name).items() if key != "effort"})
    follow(
        "recipe.like: {like} is no other recipe",
        mistake=lambda: recipe_fields({"like": 3}),
        remedy=lambda: recipe_fields({"like": "nearest"}),
    )
    file = tmp_path / "own.yaml"
    file.write_text(f"like: {file}\n")
    follow(
        "recipe.like: {like} is no other recipe",
        mistake=lambda: recipe_fields(file),
        remedy=lambda: (file.write_text("like: nearest\n"), recipe_fields(file)),
    )


@pytest.mark.parametrize(
    ("error", "content"),
    [
        ("recipe {path} cannot be read", None),
        ("recipe {path} cannot be read", b"\xff\xfe\x00"),
        ("{what} is not YAML", b"rounding: [gptq"),
        ("{what} holds no fields", b"gptq"),
    ],
)
def test_a_recipe_in_a_file(follow: Any, tmp_path: Path, error: str, content: bytes | None) -> None:
    file = tmp_path / "own.yaml"
    if content is not None:
        file.write_bytes(content)
    follow(
        error,
        mistake=lambda: recipe_fields(file),
        remedy=lambda: (file.write_text("rounding: gptq\n"), parse(recipe_fields(file))),
    )


def test_a_folder_in_use(follow: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".out.layers"
    folder.mkdir()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        follow(
            "is in use: another run makes the same checkpoint",
            mistake=lambda: LayerStore(folder, {}),
            remedy=lambda: LayerStore(tmp_path / "other", {}),
        )
        other.stdin.close()
        other.wait()
    LayerStore(folder, {})


def test_another_setting_than_the_kept_layers(follow: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".out.layers"
    LayerStore(folder, {"seed": 0})

    def delete() -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        LayerStore(folder, {"seed": 1})

    follow(
        "holds layers of an interrupted pass with another",
        mistake=lambda: LayerStore(folder, {"seed": 1}),
        remedy=lambda: LayerStore(folder, json.loads((folder / "settings.json").read_text())),
    )
    follow("holds layers of an interrupted pass", mistake=lambda: LayerStore(folder, {"seed": 1}), remedy=delete)


def llama(**fields: Any) -> Configuration:
    sizes = {"layers": 1, "hidden": 64, "heads": 4, "kv_heads": 4, "head_dim": 16, "vocabulary": 64, "max_positions": 128}
    return Configuration(**{"model_type": "llama", "architecture": None, "dtype": None, "tied": False, **sizes, **fields})


@pytest.mark.parametrize(
    ("error", "fields", "names"),
    [
        ("the base is quantized already", {"quantization": {"quant_method": "fp8"}}, [WITH]),
        ("the base holds an adapter that is not merged into it", {}, [WITH, WITH.replace("weight", "lora_A.weight")]),
    ],
)
def test_a_base_in_16_bit(follow: Any, error: str, fields: dict[str, Any], names: list[str]) -> None:
    follow(
        error,
        mistake=lambda: layer_linears(llama(**fields), dict.fromkeys(names, (64, 64))),
        remedy=lambda: layer_linears(llama(), {WITH: (64, 64)}),
    )


def test_devices(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from whichbits.quantize.device import computing_devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for names in ("cpu", "cuda", "cuda:0,cuda:1"):
        follow(
            "device: {name} is not known", mistake=lambda: computing_devices("gpu"), remedy=partial(computing_devices, names)
        )
    follow(
        "is not a list of different GPUs",
        mistake=lambda: computing_devices("cuda:0,cuda"),
        remedy=lambda: computing_devices("cuda:0,cuda:1"),
    )
    for given in (None, "cpu"):
        follow(
            "device: this machine has no {name}",
            mistake=lambda: computing_devices("cuda:2"),
            remedy=partial(computing_devices, given),
        )


def test_a_format_that_is_not_written(follow: Any, base: Path) -> None:
    from whichbits.quantize.checkpoint import fit_to

    follow(
        "format {name} cannot be written",
        mistake=lambda: fit_to(base, get("bf16"), parse({})),
        remedy=lambda: fit_to(base, get("w8a8-int"), parse({})),
    )


def test_folders(follow: Any, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from whichbits.quantize.folder import folder_aside, refuse_existing

    out = tmp_path / "out"
    out.mkdir()
    follow("{out} exists already", mistake=lambda: refuse_existing(out), remedy=lambda: refuse_existing(tmp_path / "another"))
    follow("{out} exists already", mistake=lambda: refuse_existing(out), remedy=lambda: (out.rmdir(), refuse_existing(out)))

    def make(needed: int) -> None:
        with folder_aside(out, needed=needed):
            pass

    follow("MB free and a checkpoint may take", mistake=lambda: make(2**60), remedy=lambda: make(1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama (BF16, width 32) with a tokenizer of 64 words."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("base")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    words = {word: number for number, word in enumerate(["<s>", "</s>", *(f"w{number}" for number in range(62))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def calibrated(base: Path) -> Callable[..., Any]:
    """Makes calibration data for the model."""

    def make(**fields: Any) -> Any:
        from whichbits.quantize.calibration import calibration_data

        return calibration_data(base, Calibration(**{"samples": 2, "length": 8, **fields}), 0)

    return make


def test_the_length_of_calibration(follow: Any, calibrated: Any) -> None:
    raised = follow(
        "calibration.length: {length} tokens, and the model reads",
        mistake=lambda: calibrated(source="random", length=129),
        remedy=lambda: calibrated(source="random", length=128),
    )
    assert raised.remedy == "choose a length up to 128"


@pytest.mark.parametrize("helps", [{"samples": 1}, {"length": 3}, {"words": 40}])
def test_too_little_text(follow: Any, calibrated: Any, tmp_path: Path, helps: dict[str, int]) -> None:
    file = tmp_path / "text.txt"
    file.write_text(" ".join(f"w{number}" for number in range(12)))

    def mend() -> None:
        fields = dict(helps)
        if words := fields.pop("words", 0):
            file.write_text(" ".join(f"w{number}" for number in range(words)))
        calibrated(source="text", file=str(file), **fields)

    follow(
        "hold {stream} tokens, {cut} windows of",
        mistake=lambda: calibrated(source="text", file=str(file)),
        remedy=mend,
    )


def test_another_file_than_was_meant(follow: Any, calibrated: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    text = " ".join(f"w{number}" for number in range(40))
    digest = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(text + " w1")
    follow(
        "{what} has SHA-256 {digest}, not {sha256}",
        mistake=lambda: calibrated(source="text", file=str(file), sha256=digest),
        remedy=lambda: calibrated(source="text", file=str(file)),
    )
    follow(
        "{what} has SHA-256 {digest}, not {sha256}",
        mistake=lambda: calibrated(source="text", file=str(file), sha256=digest),
        remedy=lambda: (file.write_text(text), calibrated(source="text", file=str(file), sha256=digest)),
    )


@pytest.mark.parametrize("line", ['"w1"', '{"messages": []}', '{"messages": [{"role": "user"}]}', '{"text": "w1"}'])
def test_lines_of_conversations(follow: Any, calibrated: Any, tmp_path: Path, line: str) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(line + "\n")
    content = " ".join(f"w{number}" for number in range(40))

    def mend() -> None:
        file.write_text(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n")
        calibrated(source="chat", file=str(file))

    follow("is not a conversation: {error}", mistake=lambda: calibrated(source="chat", file=str(file)), remedy=mend)


def test_lines_of_tokens(follow: Any, calibrated: Any, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    right = json.dumps(list(range(8))) + "\n"

    def given(text: str, **fields: int) -> Any:
        file.write_text(text)
        return calibrated(source="tokens", file=str(file), **fields)

    for helps in (lambda: given(right * 2), lambda: given(right, samples=1)):
        follow("holds {lines} samples, and samples asks for", mistake=lambda: given(right), remedy=helps)
    for wrong in ("[1, 2]\n", "[1, 2, 3, 4, 5, 6, 7, 64]\n", '"w1"\n'):
        follow("token ids", mistake=lambda: given(right + wrong), remedy=lambda: given(right * 2))  # noqa: B023


def test_data_sets(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    from whichbits.quantize.dataset import pinned_dataset, rows

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"body": "w1", "number": 3}) + "\n")

    def read(dataset: str, **fields: Any) -> None:
        calibration = Calibration(source="dataset", dataset=dataset, **fields)
        assert list(rows(calibration, 0)) == ["w1"]

    follow(
        "are neither a file, nor a folder, nor a hub id",
        mistake=lambda: read(str(tmp_path / "no-data")),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    raised = follow(
        "data set {dataset} has {what}",
        mistake=lambda: read(str(folder)),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    assert raised.remedy == "choose fields among its columns: body, number"
    follow(
        "holds neither text nor one column of conversations",
        mistake=lambda: read(str(folder), fields=("number",)),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    follow(
        "data set {name} (config {config}, split {split}) cannot be read",
        mistake=lambda: read(str(folder), split="test", fields=("body",)),
        remedy=lambda: read(str(folder), split="train", fields=("body",)),
    )
    follow(
        "is no folder, and sha256 is a folder's",
        mistake=lambda: list(rows(Calibration(source="dataset", dataset="owner/name", sha256="0"), 0)),
        remedy=lambda: pinned_dataset(Calibration(source="dataset", dataset=str(folder))),
    )


NAME = "model.layers.0.mlp.up_proj.weight"


def rounded(weight: Any, hessian: Any, rounding: str = "gptq") -> None:
    """Quantize one weight to INT8, its inputs' Hessian given."""
    from whichbits.quantize.layer import quantize_layer
    from whichbits.quantize.observe import InputStatistics

    fed = None if hessian is None else {NAME: InputStatistics(hessian, hessian.diagonal().abs().sqrt())}
    list(quantize_layer({NAME: weight}, get("w8a8-int"), parse({"rounding": rounding}), fed))


def test_hessians(follow: Any) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("numba")
    weight, good = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).bfloat16(), torch.eye(4)
    indefinite = torch.eye(4) + 9 * (torch.eye(4).flip(0))
    for remedy in (lambda: rounded(weight, indefinite, "rtn"), lambda: rounded(weight, good)):
        raised = follow("{module}: {error}", mistake=lambda: rounded(weight, indefinite), remedy=remedy)
        assert "no Cholesky factorisation" in raised.message
    infinite = torch.full((4, 4), float("inf"))
    raised = follow("{module}: {error}", mistake=lambda: rounded(weight, infinite), remedy=lambda: rounded(weight, good))
    assert raised.remedy == "look at what the model makes of the calibration text, or give other text"
    raised = follow("{module}: {error}", mistake=lambda: rounded(weight.half(), infinite), remedy=lambda: rounded(weight, good))
    assert raised.remedy.startswith("save the model in bfloat16")


def test_numbers_that_are_not_finite(follow: Any) -> None:
    torch = pytest.importorskip("torch")
    from whichbits.quantize.finite import STORED, check_states, check_tensors

    good, bad = torch.ones(2, 2), torch.full((2, 2), float("nan"))
    for made_by in (STORED, "after awq"):
        follow(
            "holds numbers that are not finite, {made_by}",
            mistake=lambda: check_tensors({NAME: bad}, made_by),  # noqa: B023
            remedy=lambda: check_tensors({NAME: good}, made_by),  # noqa: B023
        )
    large = torch.full((2, 2), 300.0)
    follow(
        "they leave the range of FP16",
        mistake=lambda: check_states([large.half() * large.half()], "states"),
        remedy=lambda: check_states([large.bfloat16() * large.bfloat16()], "states"),
    )
    follow(
        "{what} are not finite", mistake=lambda: check_states([bad], "states"), remedy=lambda: check_states([good], "states")
    )


def copied(base: Path, folder: Path, edit: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> Path:
    """The base with other tensors and another config.json."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    if edit is not None:
        edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


EXTRA = "model.layers.0.mlp.extra.weight"


def _extra(tensors: dict[str, Any]) -> None:
    tensors[EXTRA] = tensors[NAME].clone()


def test_structures_that_are_not_understood(follow: Any, base: Path, tmp_path: Path) -> None:
    """Rounding to nearest makes a checkpoint of a model that the calibrated pass does not understand."""
    torch = pytest.importorskip("torch")
    from whichbits.formats.experts import separate_experts
    from whichbits.quantize.checkpoint import quantize_checkpoint
    from whichbits.quantize.decoder import fill, final_norm

    odd = copied(base, tmp_path / "odd", _extra)
    numbers = iter(range(9))

    def nearest() -> None:
        quantize_checkpoint(odd, get("w8a8-int"), parse(recipe_fields("nearest")), tmp_path / str(next(numbers)))

    linear = torch.nn.Linear(2, 2)
    follow("the checkpoint's tensors do not fit", mistake=lambda: fill(linear, {"extra.weight": linear.weight}), remedy=nearest)
    follow("no norm behind its layers is called", mistake=lambda: final_norm(linear), remedy=nearest)
    follow(
        "the mixture of experts of {name} is not understood",
        mistake=lambda: separate_experts(linear, ["mlp.experts.0.w1.weight"]),
        remedy=nearest,
    )


def test_rotations(follow: Any, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from whichbits.quantize.tensors import base_tensors

    def prefixed(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[f"language_model.{name}"] = tensors.pop(name)

    def behind(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.post_feedforward_layernorm.weight"] = tensors["model.norm.weight"].clone()

    cases = {
        "has norms behind attention and MLP": copied(base, tmp_path / "behind", behind),
        "rotation: model type {model_type} is not one of": copied(base, tmp_path / "olmo", model_type="olmo"),
        "rotation: the tensor {name} is not understood": copied(base, tmp_path / "extra", _extra),
        "rotation: the model reads images too": copied(base, tmp_path / "images", prefixed),
    }
    for error, folder in cases.items():

        def read(place: Path, **fields: Any) -> None:
            tensors = base_tensors(place, parse(fields))
            for name in tensors:
                tensors[name]

        follow(error, mistake=partial(read, folder, rotation=True), remedy=partial(read, folder))


def test_norms_that_feed_nothing(follow: Any) -> None:
    pytest.importorskip("torch")
    from whichbits.quantize.smoothing import rescale

    def without() -> None:
        fields = {"balancing": None}
        recipe = recipe_for(get("w8a8-int"), "balanced", fields)
        assert recipe_for(get("w8a8-int"), "balanced", {}).balancing is not None
        assert (recipe.balancing, recipe.smoothing, recipe.awq) == (None, None, False)

    follow("no norm of the model feeds a linear layer", mistake=lambda: rescale({}, [], {}, lambda *_: None), remedy=without)


def test_budgets_of_a_model(follow: Any, base: Path) -> None:
    pytest.importorskip("torch")
    from whichbits.quantize.automatic import choose_formats

    recipe = parse({"rounding": "gptq", "calibration": {"source": "random", "samples": 2, "length": 8}})
    choosing = partial(choose_formats, base, recipe=recipe, device="cpu")
    follow(
        "and the smallest of the formats take",
        mistake=lambda: choosing(["w8a8-int"], bits_per_weight=5),
        remedy=lambda: choosing(["w4a16-int", "w8a8-int"], bits_per_weight=5),
    )
    follow(
        "none of the formats fits {name}",
        mistake=lambda: choosing(["fp8-block"], bits_per_weight=9),
        remedy=lambda: choosing(["fp8-block", "w8a8-int"], bits_per_weight=9),
    )


PLAIN = {"rounding": "gptq", "calibration": {"source": "random", "samples": 2, "length": 8}}


def passed(base: Path, folder: Path, *recipes: dict[str, Any]) -> None:
    """One calibrated pass."""
    from whichbits.quantize.calibrated import Target, quantize_calibrated

    targets = [Target(get("w8a8-int"), parse(recipe), folder / str(number)) for number, recipe in enumerate(recipes)]
    quantize_calibrated(base, targets, device="cpu")


@pytest.mark.parametrize(
    ("error", "other"),
    [
        ("differ in calibration or seed", {**PLAIN, "seed": 1}),
        ("leave different modules in 16 bit", {**PLAIN, "layers": [{"match": "re:.*down_proj", "format": "bf16"}]}),
    ],
)
def test_formats_of_one_pass(follow: Any, base: Path, tmp_path: Path, error: str, other: dict[str, Any]) -> None:
    pytest.importorskip("numba")

    def separate() -> None:
        passed(base, tmp_path / "first", PLAIN)
        passed(base, tmp_path / "second", other)

    follow(error, mistake=lambda: passed(base, tmp_path / "both", PLAIN, other), remedy=separate)


def test_tensors_that_are_not_the_model_s(follow: Any, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    spoilt = copied(base, tmp_path / "spoilt", _extra)
    follow(
        "the checkpoint is not one of transformers'",
        mistake=lambda: passed(spoilt, tmp_path / "of-spoilt", PLAIN),
        remedy=lambda: passed(base, tmp_path / "of-base", PLAIN),
    )
