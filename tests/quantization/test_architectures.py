"""Every family of models, each as a small random model of transformers' own class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("numba")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.engines.emulation.model import Emulated  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.model.attention import NAME  # noqa: E402
from whichbits.quantization.model.decoder import empty_model, first_inputs  # noqa: E402
from whichbits.quantization.model.replicas import filled, run  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors  # noqa: E402
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.effort import recipe_for  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

FAMILIES = [
    "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "Gemma2", "Gemma3Text", "Phi3", "Granite", "Mixtral", "Qwen3Moe", "Qwen2Moe",
]  # fmt: skip
TOKENS = torch.randint(5, 256, (2, 24), generator=torch.Generator().manual_seed(1))
GPTQ = Recipe(rounding="gptq", calibration=Calibration(source="random", samples=16, length=32))
LARGEST_ERROR = {"w8a8-int": 0.3, "w4a16-int": 0.7}
"""Of random logits against the base's; exchanged or forgotten matrices give more than 1. In a mixture one token that goes to
another expert makes most of it (0.03 to 0.24 by the seed of w8a8-int)."""


def logits(folder: Path) -> torch.Tensor:
    """Logits in the engine `emulated` (transformers)."""
    return Emulated(folder, threads=1, dtype=torch.float32).logits(TOKENS)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_walk_through_the_layers_is_the_models(family: str, random_base: Callable[[str], Path]) -> None:
    """Layer by layer, as the calibrated pass goes, gives the hidden states that the whole model gives.

    Both are computed in BF16, attention's scores too, whose roundings differ.
    """
    base = random_base(family)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    expected = model(TOKENS[:1], output_hidden_states=True, use_cache=False).hidden_states
    tensors = StoredTensors(base)
    decoder = empty_model(base)
    assert decoder.config._attn_implementation == NAME
    layers = list(decoder.layers)
    outside = {n.removeprefix("model."): tensors[n] for n in tensors if n.startswith("model.") and ".layers." not in n}
    inputs, calls = first_inputs(decoder, outside, TOKENS[:1])
    for number, (layer, call) in enumerate(zip(layers, calls, strict=True)):
        assert difference(inputs[0], expected[number]) < 0.025
        prefix = f"model.layers.{number}."
        own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        inputs = run(filled(layer, own, call, ["cpu"]), inputs)
    normed = model.get_decoder().norm(inputs[0])
    assert difference(normed, expected[-1]) < 0.025


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_are_near_the_base(family: str, random_base: Callable[[str], Path], tmp_path: Path) -> None:
    """By round-to-nearest, by GPTQ, and by the recipes of two efforts."""
    base = random_base(family)
    expected = logits(base)
    recipe = GPTQ.model_copy(update={"propagate_error": False})
    targets = [Target(get(name), recipe, tmp_path / f"gptq-{name}") for name in LARGEST_ERROR]
    for effort in ("balanced", "best"):
        recipe = recipe_for(get("w4a16-int"), effort, {"calibration": GPTQ.calibration})
        targets.append(Target(get("w4a16-int"), recipe, tmp_path / f"{effort}-w4a16-int"))
    quantize_calibrated(base, targets)
    for name in LARGEST_ERROR:
        quantize_checkpoint(base, get(name), Recipe(), tmp_path / f"rtn-{name}")
    for folder in sorted(tmp_path.iterdir()):
        error = difference(logits(folder), expected)
        assert 0 < error < LARGEST_ERROR[folder.name.partition("-")[2]], folder.name


@pytest.mark.parametrize("family", ["Mixtral", "Qwen2Moe"])
def test_of_a_mixture_the_routers_stay_and_every_expert_is_quantized(
    family: str, random_base: Callable[[str], Path], tmp_path: Path
) -> None:
    base = random_base(family)
    quantize_checkpoint(base, get("w4a16-int"), GPTQ, tmp_path / "out")
    before, after = (safetensors.load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    kept = set(before) & set(after)
    routers = {name for name in kept if name.endswith(("moe.gate.weight", "mlp.gate.weight", "expert_gate.weight"))}
    assert len(routers) == (2 if family == "Mixtral" else 4)
    assert all(torch.equal(before[name], after[name]) for name in kept)
    experts = {name.removesuffix("weight") for name in before if ".experts." in name}
    assert experts == {name.removesuffix("weight_packed") for name in after if ".experts." in name and "packed" in name}
    ignore = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["ignore"]
    assert set(ignore) == {"lm_head", *(name.removesuffix(".weight") for name in routers)}


@torch.no_grad()
def test_an_expert_that_no_token_chooses_is_calibrated_all_the_same(random_base: Callable[[str], Path]) -> None:
    """Every expert's linear layers see an even share of the tokens at least; what is not chosen changes nothing."""
    layer = empty_model(random_base("Mixtral")).layers[0]
    experts = layer.mlp.experts
    for parameter in list(experts.parameters()):
        assert parameter.is_meta
    experts.to_empty(device="cpu")
    for parameter in experts.parameters():
        parameter.normal_(std=0.1)
    seen: dict[int, int] = {}
    for number, expert in enumerate(experts):
        expert.w1.register_forward_pre_hook(lambda _, args, number=number: seen.update({number: len(args[0])}))
    x = torch.randn(12, 128).to(torch.bfloat16)
    chosen = torch.tensor([[0, 1]] * 10 + [[0, 2]] * 2)
    weights = torch.full((12, 2), 0.5).to(torch.bfloat16)
    found = experts(x, chosen, weights)
    assert seen == {0: 12, 1: 10, 2: 6, 3: 6}
    expected = torch.stack(
        [sum(0.5 * experts[int(number)](token[None])[0] for number in row) for token, row in zip(x, chosen, strict=True)]
    )
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("recipe", [Recipe(), GPTQ.model_copy(update={"smoothing": 0.5})], ids=["rtn", "smoothed-gptq"])
def test_of_a_model_that_reads_images_the_language_model_is_quantized(
    recipe: Recipe, save_tokenizer: Callable[..., int], tmp_path: Path
) -> None:
    """Gemma 3 from 4B on: the decoder's tensors are under language_model, and what is beside it stays as it is."""
    torch.manual_seed(0)
    text = {
        "vocab_size": save_tokenizer(tmp_path / "base"), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "initializer_range": 0.08,
        "max_position_embeddings": 256,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    transformers.Gemma3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    layers = {"layers": ({"match": r"re:.*layers\.0\.mlp\.down", "format": "w8a8-int"},)}
    for name, own in (("plain", recipe), ("mixed", Recipe.model_validate(recipe.model_dump() | layers))):
        quantize_checkpoint(tmp_path / "base", get("w4a16-int"), own, tmp_path / name)
    before, after = (safetensors.load_file(tmp_path / name / "model.safetensors") for name in ("base", "plain"))
    beside = [name for name in before if not name.startswith("language_model.")]
    assert len(beside) > 10 and all(torch.equal(before[name], after[name]) for name in beside)
    assert {f"{name}_packed" for name in before if "model.layers" in name and before[name].dim() == 2} <= set(after)
    ignore = json.loads((tmp_path / "plain" / "config.json").read_text())["quantization_config"]["ignore"]
    assert ignore == ["re:.*lm_head$", r"re:.*\bmulti_modal_projector\b", r"re:.*\bvision_tower\b"]
    expected = logits(tmp_path / "base")
    plain, mixed = (difference(logits(tmp_path / name), expected) for name in ("plain", "mixed"))
    assert 0 < mixed < plain < LARGEST_ERROR["w4a16-int"]
    with pytest.raises(UserError, match="reads images too"):
        quantize_checkpoint(tmp_path / "base", get("w8a8-int"), Recipe(rotation=True), tmp_path / "rotated")


@pytest.fixture
def pangu(random_base: Callable[[str], Path], tmp_path: Path) -> Path:
    """A random model as openPangu-Embedded comes: a Llama with biases on q, k, v and o under a name of its own."""
    base = tmp_path / "pangu"
    base.mkdir()
    for file in random_base("Llama").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.load_file(base / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name in [name for name in tensors if "self_attn" in name]:
        bias = torch.randn(len(tensors[name]), generator=generator).to(torch.bfloat16)
        tensors[name.replace("weight", "bias")] = bias
    safetensors.save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "PanguEmbedded", "architectures": ["PanguEmbeddedForCausalLM"], "bias": True}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    (base / "config.json").write_text(json.dumps(config))
    (base / "own.py").write_text("raise SystemExit('this code must not run')\n")
    return base


def as_llama(folder: Path) -> Path:
    """The folder as a Llama's, for transformers to load."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": config["bias"]}
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "auto_map"}))
    return folder


def test_openpangu_is_calibrated_and_rotated_without_its_code(pangu: Path, tmp_path: Path) -> None:
    recipe = GPTQ.model_copy(update={"rotation": True})
    quantize_checkpoint(pangu, get("w8a8-int"), recipe, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "config.json").read_text())
    assert stored["model_type"] == "PanguEmbedded" and "auto_map" in stored
    assert (tmp_path / "out" / "own.py").exists()
    expected, found = (logits(as_llama(folder)) for folder in (pangu, tmp_path / "out"))
    assert 0 < difference(found, expected) < LARGEST_ERROR["w8a8-int"]


def test_a_models_own_code_runs_only_with_consent(random_base: Callable[[str], Path], tmp_path: Path) -> None:
    """A model type that transformers does not know, with its Python code beside the weights."""
    base = tmp_path / "base"
    base.mkdir()
    for file in random_base("Llama").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (base / "config.json").write_text(json.dumps(config))
    (base / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    for recipe in (GPTQ, Recipe()):
        with pytest.raises(UserError, match=r"'own'.*--trust-remote-code"):
            quantize_checkpoint(base, get("w8a8-int"), recipe, tmp_path / "refused")
    quantize_checkpoint(base, get("w8a8-int"), GPTQ, tmp_path / "out", trust_remote_code=True)
    quantize_checkpoint(random_base("Llama"), get("w8a8-int"), GPTQ, tmp_path / "known")
    assert (tmp_path / "out" / "own.py").exists()
    own, known = (safetensors.load_file(tmp_path / name / "model.safetensors") for name in ("out", "known"))
    assert all(torch.equal(own[name], known[name]) for name in known)


def test_experts_of_another_kind_are_refused() -> None:
    from whichbits.formats.checkpoint.experts import separate_experts

    config = transformers.GptOssConfig(
        vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, num_local_experts=2,
    )  # fmt: skip
    layer = transformers.GptOssForCausalLM(config).model.layers[0]
    names = [f"mlp.experts.0.{name}.weight" for name in ("gate_proj", "up_proj", "down_proj")]
    with pytest.raises(UserError, match="mixture of experts of GptOssDecoderLayer is not understood"):
        separate_experts(layer, names)
