"""Emulation against transformers without it, and against the integer-exact reference."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from whichbits.engines.emulation.exact_integers import integer_linear, unpack_int4
from whichbits.engines.emulation.linear import EmulatedLinear, exact_integers, multiply, quantize_tokens
from whichbits.engines.emulation.model import Emulated
from whichbits.engines.emulation.sampling import Drawn, within_top_p
from whichbits.engines.errors import EngineError
from whichbits.formats.grid.e4m3 import E4M3
from whichbits.formats.grid.integer import Integer

HALF_STEP = 2**-8  # largest relative error of rounding to BF16, which has 8 significant bits


def random_pairs(count: int, *, longest: int = 60) -> list[tuple[list[int], list[int]]]:
    draw = random.Random(0)
    return [
        (
            [draw.randrange(3, 40_000) for _ in range(draw.randrange(1, longest))],
            [draw.randrange(3, 40_000) for _ in range(draw.randrange(1, 9))],
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def base(tiny_llama: Path) -> Emulated:
    return Emulated(tiny_llama, threads=1, batch_tokens=400)


def direct(folder: Path, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """One sequence through transformers, with no batch, padding or shortened logits."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1]
    target = torch.tensor(continuation)
    logprobs = logits.log_softmax(-1)[range(len(target)), target]
    return float(logprobs.sum()), bool((logits.argmax(-1) == target).all())


def test_loglikelihood_is_that_of_transformers(base: Emulated, tiny_llama: Path) -> None:
    pairs = random_pairs(8)
    exact = Emulated(tiny_llama, threads=1, batch_tokens=400, dtype=torch.float32)
    for (context, continuation), (found, greedy) in zip(pairs, exact.loglikelihood(pairs), strict=True):
        expected, expected_greedy = direct(tiny_llama, context, continuation)
        assert found == pytest.approx(expected, abs=1e-3)
        assert greedy == expected_greedy
    for (found, _), (expected, _) in zip(base.loglikelihood(pairs), exact.loglikelihood(pairs), strict=True):
        assert found == pytest.approx(expected, abs=0.1)  # BF16 against float32


def test_greedy_is_recognized(tiny_llama: Path) -> None:
    exact = Emulated(tiny_llama, threads=1, dtype=torch.float32)  # where the head of `logits` is that of scores
    context = [5, 6, 7]
    best = int(exact.logits(torch.tensor(context))[-1].argmax())
    (_, greedy), (_, other) = exact.loglikelihood([(context, [best]), (context, [best + 1])])
    assert greedy
    assert not other


def test_batching_changes_nothing_but_noise(base: Emulated) -> None:
    pairs = random_pairs(20)
    together = base.loglikelihood(pairs)
    alone = [base.loglikelihood([pair])[0] for pair in pairs]
    assert [total for total, _ in together] == pytest.approx([total for total, _ in alone], abs=0.03)


def test_next_token_logprobs_are_loglikelihoods_of_one_token(base: Emulated) -> None:
    contexts = [context for context, _ in random_pairs(6)]
    choices = [[11, 22, 33, 22]] * len(contexts)
    found = base.next_token_logprobs(contexts, choices)
    for context, row in zip(contexts, found, strict=True):
        expected = [total for total, _ in base.loglikelihood([(context, [token]) for token in choices[0]])]
        assert row == pytest.approx(expected, abs=0.02)
        assert row[1] == row[3]


def test_longer_than_the_model_is_refused(base: Emulated) -> None:
    assert base.max_length == 512
    base.loglikelihood([([5] * 500, [6] * 12)])
    with pytest.raises(ValueError, match="500 tokens of context and 13 more exceed"):
        base.loglikelihood([([5] * 500, [6] * 13)])
    with pytest.raises(ValueError, match="exceed"):
        base.generate([[5] * 500], max_tokens=13)
    with pytest.raises(ValueError, match="empty"):
        base.loglikelihood([([], [6])])


def test_greedy_texts_are_the_argmax_of_the_logits(tiny_llama: Path) -> None:
    exact = Emulated(tiny_llama, threads=1, batch_tokens=60, dtype=torch.float32)
    prompts = [context[:20] for context, _ in random_pairs(5, longest=20)]
    for prompt, made in zip(prompts, exact.generate(prompts, max_tokens=6), strict=True):
        row = list(prompt)
        for _ in range(6):
            row.append(int(exact.logits(torch.tensor(row))[-1].argmax()))
        assert made.text == exact._tokenizer.decode(row[len(prompt) :], skip_special_tokens=True)
        assert made.tokens == 6
        assert made.finish_reason == "length"


def test_stop_strings_end_a_text(base: Emulated) -> None:
    (free,) = base.generate([[100, 200, 300]], max_tokens=12)
    stop = free.text[len(free.text) // 2 :][:3]
    (stopped,) = base.generate([[100, 200, 300]], max_tokens=12, stop=[stop, "never there"])
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.tokens <= free.tokens


def test_sampling_follows_the_seed(base: Emulated) -> None:
    texts = [base.generate([[100, 200]], max_tokens=8, temperature=1.0, seed=seed)[0].text for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("name", "activation_bits"), [("w8a8-int", 8), ("w4a8-int", 8), ("w4a16-int", None)])
def test_linear_layers_match_the_integer_reference(
    quantized: Callable[[str], Path], name: str, activation_bits: int | None
) -> None:
    """To rounding: W8A8's output once (its sums are exact); with groups, besides, the dequantized weight and the unscaled sum.

    The activations are whole multiples of their scale, so that no code depends on how the scale is rounded.
    """
    folder = quantized(name)
    stored = load_file(folder / "model.safetensors")
    layers = {n: m for n, m in Emulated(folder, threads=1)._model.named_modules() if isinstance(m, EmulatedLinear)}
    assert len(layers) == 14
    for path, layer in layers.items():
        columns = layer.weight.shape[1]
        packed = stored.get(f"{path}.weight_packed")
        codes = stored[f"{path}.weight"] if packed is None else unpack_int4(packed, columns)
        scale = stored[f"{path}.weight_scale"]
        x = torch.randint(-127, 128, (300, columns), generator=torch.Generator().manual_seed(0)).bfloat16() / 8
        x[:, 0] = 127 / 8
        exact = integer_linear(x, codes, scale, activation_bits=activation_bits)
        difference = (layer(x).double() - exact).abs()
        if name == "w8a8-int" and exact_integers():
            bound = exact.abs() * HALF_STEP
        else:
            size = integer_linear(x.abs(), codes.abs(), scale, activation_bits=activation_bits)
            bound = size * HALF_STEP + exact.abs() * 2 * HALF_STEP
            assert difference.square().mean().sqrt() < 0.004 * exact.square().mean().sqrt()
        assert (difference <= bound * 1.001).all()


@pytest.mark.parametrize("name", ["w8a8-int", "w8a8-fp", "w4a8-fp", "mxfp8", "mxfp4", "nvfp4a16"])
def test_formats_stay_near_the_base_and_differ_from_it(quantized, base: Emulated, name: str) -> None:
    pairs = random_pairs(6)
    own = [total for total, _ in Emulated(quantized(name), threads=1).loglikelihood(pairs)]
    expected = [total for total, _ in base.loglikelihood(pairs)]
    assert own == pytest.approx(expected, abs=2.0)
    assert own != expected


@pytest.mark.parametrize("codes", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("model", [torch.bfloat16, torch.float16, torch.float32])
def test_activations_without_codes_are_multiplied_in_the_type_of_the_weights_codes(
    codes: torch.dtype, model: torch.dtype
) -> None:
    """Static activations are quantized and dequantized in the model's type; processors without BF16 hold codes in float32.

    A sum of codes, 127 * 127 * 64, is beyond FP16's range, and not what comes of it.
    """
    weight = torch.randint(-127, 128, (8, 64), generator=torch.Generator().manual_seed(0)).float()
    weight[0] = 127
    x = torch.full((3, 64), 127.0)
    scale, bias = torch.full((8,), 2**-10), torch.arange(8.0)
    layer = EmulatedLinear(weight.to(codes), scale, bias.to(model), None, lambda x: x)
    found = layer(x.to(model))
    assert found.dtype == model
    torch.testing.assert_close(found.float(), x @ weight.T * 2**-10 + bias, rtol=2 * HALF_STEP, atol=0.02)


def test_keys_and_values_are_rounded_as_they_enter_attention(quantized, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an FP8 key-value cache with scales of 1, against a plain attention that is given rounded ones."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    tokens = torch.arange(5, 60)
    plain = Emulated(quantized("w8a8-fp"), threads=1)
    kind = plain._model.config._attn_implementation
    attention = ALL_ATTENTION_FUNCTIONS[kind]

    def rounded(module, queries, keys, values, *others, **options):
        keys, values = (part.to(torch.float8_e4m3fn).to(part.dtype) for part in (keys, values))
        return attention(module, queries, keys, values, *others, **options)

    unrounded = plain.logits(tokens)
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, kind, rounded)
    expected = plain.logits(tokens)
    monkeypatch.undo()
    found = Emulated(quantized("w8a8-fp+kv-fp8"), threads=1).logits(tokens)
    assert torch.equal(found, expected)
    assert not torch.equal(found, unrounded)


def test_quantized_tokens_by_hand() -> None:
    """[127, -63.5, 0]: scale 1, codes 127, -64 (even), 0. An all-zero token stays zero."""
    found = quantize_tokens(torch.tensor([[127.0, -63.5, 0.0], [0, 0, 0]]), Integer(8), dtype=torch.int8)
    assert found.codes.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert found.scale[0].item() == 1.0
    halved = quantize_tokens(torch.tensor([[448.0, 17.0, 0.3]]), E4M3(), dtype=torch.bfloat16)
    assert halved.codes.tolist() == [[448.0, 16.0, 0.3125]]  # E4M3 near 17: 16, 18; near 0.3: 0.28125, 0.3125


def test_e4m3_numbers_are_torchs() -> None:
    x = torch.cat([torch.linspace(-448, 448, 100_001), torch.linspace(-0.05, 0.05, 100_001)])[None]
    x = torch.cat([x, torch.tensor([[448.0]])], dim=1)  # scale 1
    found = quantize_tokens(x, E4M3(), dtype=torch.bfloat16)
    assert torch.equal(found.codes.float(), x.to(torch.float8_e4m3fn).float())


def test_long_products_are_exact() -> None:
    if not exact_integers():
        pytest.skip("this processor has no VNNI: products are in floats")
    x = torch.full((3, 4096), 127, dtype=torch.int8)
    weight = torch.full((8, 4096), -127, dtype=torch.int8)
    assert (multiply(x, weight) == -127 * 127 * 4096).all()


def test_inputs_are_quantized_once_for_layers_that_share_them(quantized, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values; output; gate and up; down: four a layer, not seven."""
    from whichbits.engines.emulation import linear

    calls = []
    original = linear.quantize_tokens
    monkeypatch.setattr(linear, "quantize_tokens", lambda *args, **options: calls.append(1) or original(*args, **options))
    Emulated(quantized("w8a8-int"), threads=1).logits(torch.tensor([5, 6, 7]))
    assert len(calls) == 2 * 4


def test_activations_are_left_as_they_are() -> None:
    """Others read them too: a router beside the experts, for one."""
    x = torch.randn(4, 8)
    before = x.clone()
    quantize_tokens(x, Integer(8), dtype=torch.float32)
    assert torch.equal(x, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_and_not_a_score(tiny_llama: Path, value: float) -> None:
    model = Emulated(tiny_llama, threads=1)
    with torch.no_grad():
        model._model.model.layers[0].mlp.down_proj.weight[0, 0] = value
    with pytest.raises(EngineError, match="not finite"):
        model.loglikelihood([([5, 6, 7], [8]), ([5, 6, 7], [9])])
    with pytest.raises(EngineError, match="not finite"):
        model.next_token_logprobs([[5, 6, 7]], [[8, 9]])
    with pytest.raises(EngineError, match="not finite"):
        model.generate([[5, 6, 7]], max_tokens=2)


def changed(checkpoint: Path, folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Path:
    """A copy of a checkpoint with other tensors and other fields of config.json."""
    shutil.copytree(checkpoint, folder)
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8")) | config
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


@pytest.mark.parametrize("scale", ["weight_scale", "weight_scale_inv"])
def test_codes_of_other_tools_are_not_taken_for_weights(tiny_llama: Path, tmp_path: Path, scale: str) -> None:
    """transformers loads FP8 codes without scales that have another name, and never with their activations' format."""
    tensors = {name: tensor for file in tiny_llama.glob("model*.safetensors") for name, tensor in load_file(file).items()}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        tensors[name.removesuffix("weight") + scale] = torch.full((len(tensors[name]), 1), 2.0**-8)
        tensors[name] = (tensors[name] * 256).to(torch.float8_e4m3fn)
    stated = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    with pytest.raises(EngineError, match="quantized by fp8; emulated are compressed-tensors"):
        Emulated(changed(tiny_llama, tmp_path / "fp8", tensors, quantization_config=stated), threads=1)


def test_what_transformers_cannot_load_is_said_in_a_line(quantized, tmp_path: Path) -> None:
    checkpoint = quantized("w4a16-int")
    tensors = {name: tensor for file in checkpoint.glob("model*.safetensors") for name, tensor in load_file(file).items()}
    shapes = {name: torch.tensor([1, 1]) for name in tensors if name.endswith("weight_shape")}
    with pytest.raises(EngineError, match=r"compressed-tensors cannot load the checkpoint: .*[^\n]$"):
        Emulated(changed(checkpoint, tmp_path / "shapes", tensors | shapes), threads=1)


def test_what_is_drawn_does_not_depend_on_the_batch(tiny_llama: Path) -> None:
    prompts = [[100, 200], [300], [400, 500, 600]]
    together = Emulated(tiny_llama, threads=1, dtype=torch.float32)
    alone = Emulated(tiny_llama, threads=1, dtype=torch.float32, batch_tokens=1)
    how = {"max_tokens": 6, "temperature": 0.2, "top_p": 0.9}
    drawn = [one.text for one in together.generate(prompts, **how, seed=[1, 2, 3])]
    assert drawn == [one.text for one in alone.generate(prompts, **how, seed=[1, 2, 3])]
    assert drawn != [one.text for one in together.generate(prompts, **how, seed=[4, 5, 6])]


def test_tokens_are_drawn_as_the_softmax_says() -> None:
    scores = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    rows = 20_000
    for top_p, shares in ((1.0, (0.5, 0.3, 0.15, 0.05)), (0.6, (0.625, 0.375, 0, 0))):
        drawn = Drawn(list(range(rows)), 1.0, top_p)(torch.zeros(rows, 1), scores.expand(rows, 4)).argmax(-1)
        assert (drawn.bincount(minlength=4) / rows).tolist() == pytest.approx(shares, abs=0.012)
    kept = within_top_p(scores[None], 0.5)
    assert kept.isfinite().tolist() == [[True, False, False, False]]
