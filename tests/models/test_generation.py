"""A generation_config.json says which ids end a text, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.engines.emulation.model import Emulated  # noqa: E402
from whichbits.models.generation import end_ids  # noqa: E402
from whichbits.quantization.calibration.data import calibration_data  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration  # noqa: E402

HOSTILE: dict[str, Any] = {
    "repetition_penalty": 1.8, "encoder_repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2,
    "min_length": 40, "min_new_tokens": 7, "max_length": 9, "max_new_tokens": 3, "max_time": 0.0001, "num_beams": 3,
    "num_beam_groups": 3, "diversity_penalty": 0.5, "length_penalty": 3.0, "early_stopping": True, "num_return_sequences": 2,
    "do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.9, "top_h": 0.1, "typical_p": 0.1,
    "epsilon_cutoff": 0.5, "eta_cutoff": 0.5, "penalty_alpha": 0.6, "guidance_scale": 4.0, "renormalize_logits": True,
    "bad_words_ids": [[number] for number in range(20, 200)], "suppress_tokens": list(range(20, 200)),
    "begin_suppress_tokens": list(range(100, 250)), "forced_bos_token_id": 9, "forced_eos_token_id": 1,
    "sequence_bias": [[[30], 50.0]], "exponential_decay_length_penalty": [1, 4.0], "remove_invalid_values": True,
    "stop_strings": ["e", "a"], "token_healing": True, "cache_implementation": "static", "use_cache": False,
    "prompt_lookup_num_tokens": 3, "return_dict_in_generate": True, "output_scores": True, "output_logits": True,
    "output_attentions": True, "output_hidden_states": True, "prefill_chunk_size": 2, "dola_layers": "low",
    "watermarking_config": {"greenlist_ratio": 0.25, "bias": 8.0}, "compile_config": {"mode": "max-autotune"},
    "assistant_early_exit": 1, "num_assistant_tokens": 2, "low_memory": True, "pad_token_id": 9, "bos_token_id": 9,
    "decoder_start_token_id": 9, "of_no_library": 3,
}  # fmt: skip
PROMPTS = [[0, 30, 40, 50], [0, 60]]


@pytest.fixture(scope="module")
def plain(save_tokenizer: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose generation_config.json names its end."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=save_tokenizer(folder), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.3, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}', encoding="utf-8")
    return folder


def changed(folder: Path, place: Path, generation: dict[str, Any] | str | None, **config: Any) -> Path:
    """A copy of a checkpoint with another generation_config.json (None: without), and fields in config.json."""
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    (place / "generation_config.json").unlink()
    if generation is not None:
        text = generation if isinstance(generation, str) else json.dumps(generation)
        (place / "generation_config.json").write_text(text, encoding="utf-8")
    stated = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps(stated | config), encoding="utf-8")
    return place


def texts(folder: Path, **sampling: Any) -> list[tuple[str, int, str]]:
    made = Emulated(folder, threads=1, dtype=torch.float32).generate(PROMPTS, max_tokens=16, **sampling)
    return [(one.text, one.tokens, one.finish_reason) for one in made]


def test_texts_are_the_plain_models_whatever_the_file_says(plain: Path, tmp_path: Path) -> None:
    """Greedy, sampled, and what the model writes for its own calibration."""
    written = Calibration(samples=3, length=24)
    greedy, sampled, own = texts(plain), texts(plain, temperature=0.7), calibration_data(plain, written, 0).fingerprint
    assert greedy != sampled
    variants = {
        "all": {"eos_token_id": 1, **HOSTILE},
        "valid": {"eos_token_id": 1, "repetition_penalty": 1.8, "num_beams": 4, "no_repeat_ngram_size": 2, "min_length": 5},
        "wrong": {"eos_token_id": 1, "num_beams": "four", "temperature": -1, "cache_implementation": "bogus", "top_k": None},
        "none": None,
    }
    for name, generation in variants.items():
        folder = changed(plain, tmp_path / name, generation)
        assert texts(folder) == greedy, name
        assert texts(folder, temperature=0.7) == sampled, name
        assert calibration_data(folder, written, 0).fingerprint == own, name
    legacy = changed(plain, tmp_path / "legacy", None, repetition_penalty=1.8, max_length=20, top_k=50, do_sample=True)
    assert texts(legacy) == greedy
    assert calibration_data(legacy, written, 0).fingerprint == own


@pytest.mark.parametrize("first", range(6))
def test_no_few_fields_change_a_greedy_text(first: int, plain: Path, tmp_path: Path) -> None:
    few = {field: HOSTILE[field] for field in sorted(HOSTILE)[first::6]}
    assert texts(changed(plain, tmp_path / "changed", {"eos_token_id": 1, **few})) == texts(plain)


def test_its_end_ids_end_a_text(plain: Path, tmp_path: Path) -> None:
    assert texts(plain)[0][1:] == (16, "length")
    first = int(Emulated(plain, threads=1, dtype=torch.float32).logits(torch.tensor(PROMPTS[0]))[-1].argmax())
    assert texts(changed(plain, tmp_path / "ended", {"eos_token_id": [1, first]}))[0][1:] == (1, "stop")


@pytest.mark.parametrize(
    ("generation", "config", "ends"),
    [
        ({"eos_token_id": 7}, 5, (7, 1)),
        ({"eos_token_id": [7, 8, 1]}, 5, (7, 8, 1)),
        ({}, 5, (1,)),  # the file is there and names none
        (None, 5, (5, 1)),
        (None, [5, 6], (5, 6, 1)),
        (None, None, (1,)),
    ],
)
def test_ends_are_the_files_then_the_configurations_and_the_tokenizers(generation, config, ends, tmp_path) -> None:
    if generation is not None:
        (tmp_path / "generation_config.json").write_text("\ufeff" + json.dumps(generation), encoding="utf-8")
    assert end_ids(tmp_path, transformers.LlamaConfig(eos_token_id=config), 1) == ends


@pytest.mark.parametrize(
    "content", ["{", "[]", '"a"', '{"eos_token_id": "</s>"}', '{"eos_token_id": [1, true]}', '{"eos_token_id": 1.0}']
)
def test_a_file_that_is_none_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"generation_config\.json"):
        end_ids(tmp_path, transformers.LlamaConfig(), 1)
