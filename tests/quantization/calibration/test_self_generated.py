from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantization.calibration import self_generated as module  # noqa: E402
from whichbits.quantization.calibration.drawing import Drawn, roomy_cache  # noqa: E402
from whichbits.quantization.calibration.kept_text import KeptText, kept_text  # noqa: E402
from whichbits.quantization.calibration.self_generated import samples_together, self_generated  # noqa: E402

VOCABULARY = 48


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in float32, of which each token's successors are far from equally likely."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, initializer_range=0.4,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def generate(base: Path, samples: int, *, length: int = 24, seed: int = 0, kept: KeptText | None = None) -> torch.Tensor:
    return self_generated(base, [], [2], samples, length, seed, kept=kept)


def test_a_sample_does_not_depend_on_the_batch(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = []
    for together in (1, 4, 8):
        monkeypatch.setattr(module, "MOST_TOGETHER", together)
        alike.append(generate(base, 10))
    assert torch.equal(alike[0], alike[1])
    assert torch.equal(alike[0], alike[2])
    assert torch.equal(generate(base, 4), alike[0][:4]), "few samples are the first of many"
    assert not torch.equal(generate(base, 10, seed=1), alike[0])


def test_the_caches_room_changes_nothing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = generate(base, 6)
    monkeypatch.setattr("whichbits.quantization.calibration.drawing.roomy_cache", lambda model, length: None)
    assert torch.equal(generate(base, 6), ours)


def test_a_killed_run_goes_on_with_what_is_there(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOGETHER", 4)
    whole, kept = generate(base, 10), KeptText(tmp_path / "text.jsonl")

    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done > 6 * 24:  # in the second batch
            raise Killed

    with pytest.raises(Killed):
        self_generated(base, [], [2], 10, 24, 0, kill, kept=kept)
    assert kept.count() == 4
    counted: list[int] = []
    again = self_generated(base, [], [2], 10, 24, 0, lambda done, total: counted.append(done), kept=kept)
    assert torch.equal(again, whole)
    assert counted[0] == 4 * 24, "what is there counts at once"
    assert kept.count() == 10


def test_what_is_kept_is_not_generated_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptText(tmp_path / "text.jsonl")
    whole = generate(base, 6, kept=kept)
    monkeypatch.setattr(module, "_model", None)
    assert torch.equal(generate(base, 6, kept=kept), whole)
    assert torch.equal(generate(base, 3, kept=kept), whole[:3])


def test_the_place_depends_on_model_length_and_seed_alone(calibration_texts: Path) -> None:
    one = kept_text({"model.safetensors": "ab"}, 512, 0)
    assert one == kept_text({"model.safetensors": "ab"}, 512, 0)
    others = [kept_text({"model.safetensors": "cd"}, 512, 0), kept_text({"model.safetensors": "ab"}, 256, 0)]
    assert len({one.path, *(each.path for each in others), kept_text({"model.safetensors": "ab"}, 512, 1).path}) == 4
    assert one.path.parent == calibration_texts


def test_tokens_come_as_often_as_the_model_has_them() -> None:
    """40,000 draws from (0.5, 0.3, 0.2 and an end of 0.5 that is left out), within four standard errors."""
    shares = torch.tensor([0.25, 0.15, 0.5, 0.10])
    count = 40_000
    chances = torch.rand(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left = Drawn(chances, [2], lambda place: None)(
        torch.zeros(count, 1, dtype=torch.int64), shares.log().expand(count, -1).clone()
    )
    assert (torch.isfinite(left).sum(dim=-1) == 1).all()
    drawn = left.argmax(dim=-1)
    for token, expected in ((0, 0.5), (1, 0.3), (2, 0.0), (3, 0.2)):
        error = (expected * (1 - expected) / count) ** 0.5
        assert abs(float((drawn == token).float().mean()) - expected) <= 4 * error


def test_samples_together_fit_the_memory() -> None:
    assert samples_together(46_080, 512) == 64  # SmolLM2-135M in float32: 91 would fit
    assert samples_together(131_072, 512) == 32  # Llama-3.1-8B in 16 bit
    assert samples_together(10**9, 4096) == 1
    assert samples_together(1, 1) == module.MOST_TOGETHER


def test_a_model_with_another_kind_of_cache_keeps_it() -> None:
    class Model:
        def _supports_default_dynamic_cache(self) -> bool:
            return False

    assert roomy_cache(Model(), 8) is None
