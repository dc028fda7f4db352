from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import decompress  # noqa: E402
from whichbits.formats.checkpoint.files import INDEX, tensor_files  # noqa: E402
from whichbits.quantization.output.manifest import Manifest  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402

IDS = torch.arange(100, 132).reshape(1, -1)

# The largest relative difference of the logits that rounding the activations may cause over this random model's 14 matrices:
# INT8 with a scale a token errs by under one percent a matrix, FP8 by under three, FP4 by over ten; weight-only by none.
FORMATS = {
    "w8a8-int": 0.06, "w8a8-fp": 0.2, "fp8-block": 0.2, "mxfp8": 0.2, "w4a16-int": 0.0, "w4a8-int": 0.06, "w4a8-fp": 0.2,
    "nvfp4a16": 0.0, "mxfp4": 0.9,
}  # fmt: skip


def load(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.compiler.set_stance("force_eager"):  # compressed-tensors compiles its rounding to FP4, for seconds a shape
        return model(IDS).logits.to(torch.float32)


@torch.no_grad()
def with_stored_weights(base: Path, checkpoint: Path, manifest: Manifest) -> torch.nn.Module:
    """The base in which each linear layer holds what compressed-tensors unpacks from the checkpoint's file."""
    tensors = {name: safetensors.load_file(file)[name] for name, file in tensor_files(checkpoint).items()}
    model = load(base)
    for name, module in model.model.layers.named_modules(prefix="model.layers"):
        if isinstance(module, torch.nn.Linear):
            stored = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            module.weight.copy_(decompress(stored, manifest.format))
    return model


@pytest.mark.parametrize("name", FORMATS, ids=[f"transformers-{name}" for name in FORMATS])
def test_a_checkpoint_loads_and_runs_in_transformers(name: str, block_llama: Path, tmp_path: Path) -> None:
    manifest, _ = quantize_checkpoint(block_llama, get(name), Recipe(), tmp_path / "out")
    model = load(tmp_path / "out")
    reference = with_stored_weights(block_llama, tmp_path / "out", manifest)
    ours, expected = logits(model), logits(reference)
    difference = float((ours - expected).norm() / expected.norm())
    assert difference == 0 if manifest.format.activations is None else 0 < difference < FORMATS[name]
    assert not torch.equal(expected, logits(load(block_llama)))
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    loaded = dict(model.named_parameters())
    for key, stored in reference.named_parameters():
        assert torch.equal(loaded[key], stored), key


@torch.no_grad()
def test_the_error_table_is_that_of_the_stored_weights(block_llama: Path, tmp_path: Path) -> None:
    manifest, errors = quantize_checkpoint(block_llama, get("w4a16-int"), Recipe(), tmp_path / "out")
    stored = dict(with_stored_weights(block_llama, tmp_path / "out", manifest).named_parameters())
    base = dict(load(block_llama).named_parameters())
    assert len(errors) == 14
    for each in errors:
        weight = base[f"{each.module}.weight"].to(torch.float64)
        difference = stored[f"{each.module}.weight"].to(torch.float64) - weight
        # The stored weight is unpacked in BF16, which moves it by up to 2^-9 more.
        assert each.error == pytest.approx(float(difference.norm() / weight.norm()), abs=2.0**-9)


@pytest.mark.parametrize("name", FORMATS)
def test_bits_per_weight_is_what_the_files_hold(name: str, block_llama: Path, tmp_path: Path) -> None:
    manifest, _ = quantize_checkpoint(block_llama, get(name), Recipe(scales="minmax"), tmp_path / "out")
    shapes = [(256, 256), (128, 256), (128, 256), (256, 256), (512, 256), (512, 256), (256, 512)] * 2
    weights = sum(rows * columns for rows, columns in shapes)
    by_formula = sum(manifest.format.bits_per_weight(*shape) * shape[0] * shape[1] for shape in shapes) / weights
    assert manifest.weights == weights
    assert manifest.bits_per_weight == pytest.approx(by_formula, rel=1e-12)
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    unquantized = 2 * (300 * 256 + 5 * 256)
    header = int.from_bytes((tmp_path / "out" / "model.safetensors").read_bytes()[:8], "little") + 8
    assert size == manifest.bytes
    assert size - unquantized - header == manifest.bits_per_weight * weights / 8


def test_the_folder_and_its_manifest(block_llama: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    out = tmp_path / "deep" / "out"
    recipe = Recipe(group_size=32)
    manifest, _ = quantize_checkpoint(
        block_llama, get("w4a16-int"), recipe, out, on_progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(done, 14) for done in range(1, 15)]
    assert Manifest.model_validate_json((out / "manifest.json").read_text()) == manifest
    assert manifest.recipe == recipe
    assert manifest.format.weights and manifest.format.weights.group_size == 32
    assert manifest.base["model.safetensors"] == hashlib.sha256((block_llama / "model.safetensors").read_bytes()).hexdigest()
    on_disk = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}
    del on_disk["manifest.json"]
    assert manifest.files == on_disk
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (out / name).read_bytes() == (block_llama / name).read_bytes()
    base_config = json.loads((block_llama / "config.json").read_text())
    config = json.loads((out / "config.json").read_text())
    assert config.pop("quantization_config")["ignore"] == ["lm_head"]
    assert config == base_config
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]


def test_repetition_is_identical_to_the_byte(block_llama: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantize_checkpoint(block_llama, get("w4a16-int"), Recipe(), tmp_path / name)
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_sharded_in_and_out_is_the_same_model(block_llama: Path, tmp_path: Path) -> None:
    load(block_llama).save_pretrained(tmp_path / "base", max_shard_size="1MB")
    assert (tmp_path / "base" / INDEX).exists()
    quantize_checkpoint(tmp_path / "base", get("w8a8-int"), Recipe(), tmp_path / "sharded", shard_bytes=2**20)
    quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "single")
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 1
    assert torch.equal(logits(load(tmp_path / "sharded")), logits(load(tmp_path / "single")))


def test_untied_embeddings_stay_untied(block_llama: Path, tmp_path: Path) -> None:
    model = load(block_llama)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 2)
    model.save_pretrained(tmp_path / "base")
    quantize_checkpoint(tmp_path / "base", get("w8a8-int"), Recipe(), tmp_path / "out")
    quantized = load(tmp_path / "out")
    assert torch.equal(quantized.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(quantized.lm_head.weight, quantized.model.embed_tokens.weight)


def test_an_fp16_base_keeps_fp16_scales(block_llama: Path, tmp_path: Path) -> None:
    transformers.AutoModelForCausalLM.from_pretrained(block_llama, dtype=torch.float16).save_pretrained(tmp_path / "base")
    quantize_checkpoint(tmp_path / "base", get("w4a16-int"), Recipe(), tmp_path / "out")
    tensors = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    assert tensors["model.layers.0.mlp.up_proj.weight_scale"].dtype == torch.float16
    assert load(tmp_path / "out").dtype == torch.float16


def test_the_bases_format_is_not_written(block_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="format bf16 cannot be written: it is the base"):
        quantize_checkpoint(block_llama, get("bf16"), Recipe(), tmp_path / "out")


def test_an_existing_folder_is_kept(block_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "out")


def test_a_quantized_base_is_refused(block_llama: Path, tmp_path: Path) -> None:
    quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(scales="minmax"), tmp_path / "once")
    with pytest.raises(UserError, match="quantized already"):
        quantize_checkpoint(tmp_path / "once", get("w4a16-int"), Recipe(), tmp_path / "twice")


def test_a_failure_leaves_nothing_behind(block_llama: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "out", on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_before_the_work(block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"has [0-9,]+ MB free"):
        quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_disk_that_fills_up_is_named_and_nothing_is_left(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_to_full_disk(source: Path, target: Path) -> None:
        with Path("/dev/full").open("wb") as device:
            device.write(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", write_to_full_disk)
    with pytest.raises(UserError, match="is full"):
        quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
