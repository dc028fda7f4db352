from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("numba")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import decompress  # noqa: E402
from whichbits.quantization.output.manifest import Manifest  # noqa: E402
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.effort import recipe_for  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

TOKENS = Calibration(source="random", samples=8, length=32)
GPTQ = Recipe(rounding="gptq", calibration=TOKENS)
pytestmark = pytest.mark.usefixtures("one_thread")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@torch.no_grad()
def load(folder: Path) -> torch.nn.Module:
    """The checkpoint as transformers and compressed-tensors read it; its weights are unpacked when it first runs."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.compiler.set_stance("force_eager"):
        model(torch.arange(100, 104).reshape(1, -1))
    return model


def stored_model(base: Path, checkpoint: Path, manifest: Manifest) -> torch.nn.Module:
    """The base with the weights and norms that the checkpoint's file holds, in float32."""
    tensors = safetensors.load_file(checkpoint / "model.safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        module = name.removesuffix("weight")
        if f"{module}weight_scale" in tensors:
            packed = {key.removeprefix(module): value for key, value in tensors.items() if key.startswith(module)}
            parameter.data = decompress(packed, manifest.format).to(torch.float32)
        else:
            parameter.data = tensors[name].to(torch.float32)
    return model


@torch.no_grad()
def hidden_error(base: Path, checkpoint: Path, manifest: Manifest) -> float:
    """Squared error of the last hidden states against the base's, over tokens that were not calibrated on, relative."""
    tokens = torch.randint(5, 256, (8, 32), generator=torch.Generator().manual_seed(99))
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = model.model(tokens).last_hidden_state
    found = stored_model(base, checkpoint, manifest).model(tokens).last_hidden_state
    return float((found - expected).square().sum() / expected.square().sum())


@pytest.fixture(scope="module")
def correlated_llama(block_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random Llama with embeddings near a space of 16 dimensions, since calibration has something to learn only then."""
    folder = tmp_path_factory.mktemp("correlated-llama")
    for file in block_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.randn(300, 16, generator=generator) @ torch.randn(16, 256, generator=generator)
    tensors["model.embed_tokens.weight"] = (embeddings + 0.3 * torch.randn(300, 256, generator=generator)).to(torch.bfloat16)
    safetensors.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_gptq_end_to_end_is_closer_to_the_base_than_round_to_nearest(correlated_llama: Path, tmp_path: Path) -> None:
    calibration = Calibration(source="random", samples=32, length=64)
    nearest, _ = quantize_checkpoint(correlated_llama, get("w4a16-int"), Recipe(), tmp_path / "rtn")
    theirs = hidden_error(correlated_llama, tmp_path / "rtn", nearest)
    for propagate, asymmetric, residual in ((False, 0, 0), (True, 0, 0), (True, 0.5, 0), (True, 0.5, 0.5)):
        correction = {"propagate_error": propagate, "input_error_correction": asymmetric, "residual_error_correction": residual}
        recipe = Recipe(rounding="gptq", calibration=calibration, **correction)
        out = tmp_path / f"{propagate}-{asymmetric}-{residual}"
        manifest, errors = quantize_checkpoint(correlated_llama, get("w4a16-int"), recipe, out)
        assert hidden_error(correlated_llama, out, manifest) < 0.8 * theirs
        assert len(errors) == 14


def test_the_folder_and_its_manifest(block_llama: Path, tmp_path: Path) -> None:
    manifest, errors = quantize_checkpoint(block_llama, get("w4a16-int"), GPTQ, tmp_path / "gptq")
    nearest, _ = quantize_checkpoint(block_llama, get("w4a16-int"), Recipe(), tmp_path / "rtn")
    assert Manifest.model_validate_json((tmp_path / "gptq" / "manifest.json").read_text()) == manifest
    assert manifest.calibration
    assert manifest.calibration.tokens == 256
    assert "numba" in manifest.versions
    worse = {each.module for each in errors if (each.output_error or 0) > (each.rtn_output_error or 0)}
    assert manifest.gptq_vs_rtn and set(manifest.gptq_vs_rtn.worse) == worse
    assert 0 < manifest.gptq_vs_rtn.ratio < 1, "in sum GPTQ is better than rounding to nearest on its own tokens"
    assert nearest.gptq_vs_rtn is None
    assert manifest.bits_per_weight == nearest.bits_per_weight
    assert sorted(files(tmp_path / "gptq")) == sorted(files(tmp_path / "rtn"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["gptq", "rtn"]


@torch.no_grad()
def test_every_format_of_one_pass_loads_and_is_what_a_pass_of_its_own_gives(block_llama: Path, tmp_path: Path) -> None:
    names = ["w8a8-int", "w8a8-fp", "fp8-block", "w4a16-int", "nvfp4a16", "mxfp4"]
    shared = GPTQ.model_copy(update={"propagate_error": False})
    targets = [Target(get(name), shared, tmp_path / name) for name in names]
    targets += [Target(get("w4a8-int"), GPTQ, tmp_path / "own")]
    calls: list[tuple[int, int]] = []
    results = quantize_calibrated(block_llama, targets, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(7 * step, 98) for step in range(1, 15)]
    for (manifest, errors), target in zip(results, targets, strict=True):
        assert len(errors) == 14
        loaded = dict(load(target.out).named_parameters())
        for name, parameter in stored_model(block_llama, target.out, manifest).named_parameters():
            torch.testing.assert_close(loaded[name].to(torch.float32), parameter, rtol=2.0**-8, atol=1e-9)
    for number in (3, 6):
        quantize_calibrated(block_llama, [Target(targets[number].format, targets[number].recipe, tmp_path / f"alone-{number}")])
        assert files(tmp_path / f"alone-{number}") == files(targets[number].out)


def test_a_killed_pass_goes_on_and_ends_in_the_same_bytes(block_llama: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 14:  # after the first layer of both
            raise Killed

    def targets(folder: str) -> list[Target]:
        return [
            Target(get("w4a16-int"), GPTQ.model_copy(update={"input_error_correction": 0.5}), tmp_path / folder / "own"),
            Target(get("w8a8-int"), GPTQ.model_copy(update={"propagate_error": False}), tmp_path / folder / "shared"),
        ]

    quantize_calibrated(block_llama, targets("whole"))
    with pytest.raises(Killed):
        quantize_calibrated(block_llama, targets("killed"), on_progress=kill)
    kept = tmp_path / "killed" / ".own.layers" / "layer-00000.safetensors"
    (kept.parent / "layer-00001.aside").write_bytes(b"half a file")
    calls: list[tuple[int, int]] = []
    quantize_calibrated(block_llama, targets("killed"), on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(21, 28), (28, 28)], "only the second layer is left to do"
    for name in ("own", "shared"):
        assert files(tmp_path / "whole" / name) == files(tmp_path / "killed" / name)
    assert sorted(entry.name for entry in (tmp_path / "killed").iterdir()) == ["own", "shared"]


def test_a_run_that_is_killed_between_two_checkpoints_goes_on_with_the_second(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whichbits.quantization.passes import calibrated

    class Killed(BaseException):
        pass

    def killed_at_the_second(folder: Path, *rest: Any, **options: Any) -> Manifest:
        if "w8a8" in folder.name:
            raise Killed
        return complete(folder, *rest, **options)

    complete = calibrated.complete
    recipe = GPTQ.model_copy(update={"propagate_error": False})
    targets = [Target(get(name), recipe, tmp_path / name) for name in ("w4a16-int", "w8a8-int")]
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(calibrated, "complete", killed_at_the_second)
        quantize_calibrated(block_llama, targets)
    first = files(tmp_path / "w4a16-int")
    results = quantize_calibrated(block_llama, targets)
    assert files(tmp_path / "w4a16-int") == first
    assert [manifest.format.name for manifest, _ in results] == ["w4a16-int", "w8a8-int"]
    assert [len(errors) for _, errors in results] == [14, 14]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["w4a16-int", "w8a8-int"]
    with pytest.raises(UserError, match="exists already"):
        quantize_calibrated(block_llama, targets)


def test_layers_made_with_other_settings_are_refused(block_llama: Path, tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_checkpoint(block_llama, get("w8a8-int"), GPTQ, tmp_path / "out", on_progress=kill)
    with pytest.raises(UserError, match=r"interrupted pass with another recipe .*delete the folder"):
        quantize_checkpoint(block_llama, get("w8a8-int"), GPTQ.model_copy(update={"damping": 0.1}), tmp_path / "out")


def test_one_pass_has_one_calibration(block_llama: Path, tmp_path: Path) -> None:
    other = GPTQ.model_copy(update={"seed": 1})
    targets = [Target(get("w8a8-int"), recipe, tmp_path / str(recipe.seed)) for recipe in (GPTQ, other)]
    with pytest.raises(UserError, match="differ in calibration or seed"):
        quantize_calibrated(block_llama, targets)


def test_activation_weighted_scales_without_gptq(block_llama: Path, tmp_path: Path) -> None:
    recipe = Recipe(scales="activation", calibration=TOKENS)
    manifest, _ = quantize_checkpoint(block_llama, get("w4a16-int"), recipe, tmp_path / "weighted")
    nearest, _ = quantize_checkpoint(block_llama, get("w4a16-int"), Recipe(), tmp_path / "rtn")
    assert (tmp_path / "weighted" / "model.safetensors").read_bytes() != (tmp_path / "rtn" / "model.safetensors").read_bytes()
    ours = hidden_error(block_llama, tmp_path / "weighted", manifest)
    assert ours < 1.1 * hidden_error(block_llama, tmp_path / "rtn", nearest)


def test_smoothing_goes_into_norms_and_weights(block_llama: Path, tmp_path: Path) -> None:
    """In 8 bit what is stored is still the base's function, up to the rounding; the norms are not the base's."""
    recipe = Recipe(smoothing=0.7, calibration=TOKENS)
    assert recipe.calibrated
    manifest, _ = quantize_checkpoint(block_llama, get("w8a8-int"), recipe, tmp_path / "smooth")
    nearest, _ = quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "rtn")
    ours = hidden_error(block_llama, tmp_path / "smooth", manifest)
    assert ours < 4 * hidden_error(block_llama, tmp_path / "rtn", nearest)
    norm = safetensors.load_file(tmp_path / "smooth" / "model.safetensors")["model.layers.0.input_layernorm.weight"]
    assert not torch.equal(norm, torch.ones_like(norm))


@pytest.mark.parametrize("rounding", ["rtn", "gptq"])
def test_a_rotated_checkpoint_is_the_bases_function_with_embeddings_untied(
    rounding: str, block_llama: Path, tmp_path: Path
) -> None:
    fields = {"rounding": rounding, "rotation": True} | ({"calibration": TOKENS} if rounding == "gptq" else {})
    quantize_checkpoint(block_llama, get("w8a8-int"), Recipe.model_validate(fields), tmp_path / "rotated")
    rotated = load(tmp_path / "rotated")
    assert not rotated.config.tie_word_embeddings
    base = transformers.AutoModelForCausalLM.from_pretrained(block_llama)
    tokens = torch.randint(5, 256, (4, 32), generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        expected = base(tokens).logits.to(torch.float32)
        error = (rotated(tokens).logits.to(torch.float32) - expected).norm() / expected.norm()
    assert error < 0.1
    assert not torch.equal(rotated.model.embed_tokens.weight, base.model.embed_tokens.weight)


@torch.no_grad()
def test_biases_are_kept_and_layers_of_another_class_are_understood(save_tokenizer: Callable[..., int], tmp_path: Path) -> None:
    """Qwen2 has biases on q, k and v."""
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=save_tokenizer(tmp_path / "base"), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False, initializer_range=0.1,
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    model.save_pretrained(tmp_path / "base")
    quantize_checkpoint(tmp_path / "base", get("w8a8-int"), GPTQ, tmp_path / "out")
    loaded = dict(load(tmp_path / "out").named_parameters())
    original = dict(model.named_parameters())
    assert torch.equal(loaded["model.layers.1.self_attn.q_proj.bias"], original["model.layers.1.self_attn.q_proj.bias"])
    weight = original["model.layers.1.self_attn.q_proj.weight"].to(torch.float32)
    difference = loaded["model.layers.1.self_attn.q_proj.weight"].to(torch.float32) - weight
    assert 0 < float(difference.norm() / weight.norm()) < 0.02


def test_a_checkpoint_that_its_class_does_not_know_is_refused(block_llama: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in block_llama.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.load_file(base / "model.safetensors")
    tensors["model.layers.0.mlp.extra_proj.weight"] = torch.ones(256, 256, dtype=torch.bfloat16)
    safetensors.save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"LlamaForCausalLM: model\.layers\.0\.mlp\.extra_proj\.weight .*unknown"):
        quantize_checkpoint(base, get("w8a8-int"), GPTQ, tmp_path / "out")


def test_the_settings_of_a_pass_are_readable(block_llama: Path, tmp_path: Path) -> None:
    def look(done: int, total: int) -> None:
        settings = json.loads((tmp_path / ".out.layers" / "settings.json").read_text())
        assert settings["recipe"]["calibration"]["samples"] == 8
        assert settings["format"]["name"] == "w8a8-int"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_checkpoint(block_llama, get("w8a8-int"), GPTQ, tmp_path / "out", on_progress=look)


@torch.no_grad()
def test_what_goes_by_the_loss_is_closer_to_the_base_in_its_distributions(correlated_llama: Path, tmp_path: Path) -> None:
    """With embeddings so small, and lm_head with them, that the next token is open, as in a language model it is."""
    folder = tmp_path / "base"
    folder.mkdir()
    for file in correlated_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] *= 0.05
    safetensors.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = torch.randint(5, 256, (8, 32), generator=torch.Generator().manual_seed(99))
    log_p = torch.log_softmax(transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(tokens).logits, -1)
    divergence = {}
    for draws in (0, 1):
        fields = {"fisher_samples": draws, "calibration": Calibration(source="random", samples=32, length=64)}
        recipe = recipe_for(get("w4a16-int"), "balanced", fields)
        manifest, _ = quantize_checkpoint(folder, get("w4a16-int"), recipe, tmp_path / str(draws))
        log_q = torch.log_softmax(stored_model(folder, tmp_path / str(draws), manifest)(tokens).logits, dim=-1)
        divergence[draws] = float((log_p.exp() * (log_p - log_q)).sum(dim=-1).mean())
    assert divergence[1] < 0.9 * divergence[0]
