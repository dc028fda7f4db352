from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.calibration import self_generated  # noqa: E402
from whichbits.quantization.calibration.data import calibration_data, pinned, random_tokens, windows  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """A random one-layer Llama of width 32 with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("small-llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_model)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_do_not_overlap_and_begin_with_the_start() -> None:
    calibration = Calibration(source="text", file="a", samples=3, length=4)
    drawn = windows(list(range(100, 111)), [1], calibration, generator())
    assert sorted(drawn.tolist()) == [[1, 100, 101, 102], [1, 103, 104, 105], [1, 106, 107, 108]]
    with pytest.raises(UserError, match="hold 8 tokens, 2 windows of 4"):
        windows(list(range(8)), [1], calibration, generator())


def test_random_tokens_are_ordinary_and_uniform() -> None:
    tokens = random_tokens([5, 7, 9], [1], 1000, 4, generator())
    assert tokens.shape == (1000, 4)
    assert (tokens[:, 0] == 1).all()
    counts = torch.bincount(tokens[:, 1:].flatten(), minlength=10)
    assert counts[[5, 7, 9]].sum() == 3000
    assert (counts[[5, 7, 9]] - 1000).abs().max() < 5 * (1000 * 2 / 3) ** 0.5


def test_text_is_the_tokenizers_own(small_llama: Path, tmp_path: Path) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 8
    file = tmp_path / "text.txt"
    file.write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    calibration = Calibration(source="text", file=str(file), sha256=sha256, samples=4, length=16)
    data = calibration_data(small_llama, calibration, seed=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(small_llama)
    stream = tokenizer(text).input_ids
    possible = [stream[begin : begin + 16] for begin in range(0, len(stream) - 15, 16)]
    assert data.tokens.shape == (4, 16)
    assert all(sample in possible for sample in data.tokens.tolist())
    assert calibration_data(small_llama, calibration, seed=0).fingerprint == data.fingerprint
    assert calibration_data(small_llama, calibration, seed=1).fingerprint != data.fingerprint
    with pytest.raises(UserError, match="has SHA-256"):
        calibration_data(small_llama, calibration.model_copy(update={"sha256": "0" * 64}), seed=0)


def test_chats_go_through_the_template(small_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    messages = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue, like the sea."}]
    file.write_text("\n".join(json.dumps({"messages": messages}) for _ in range(10)) + "\n\n")
    data = calibration_data(small_llama, Calibration(source="chat", file=str(file), samples=2, length=64), seed=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(small_llama)
    whole = tokenizer.apply_chat_template(messages, tokenize=False) * 10
    assert all(tokenizer.decode(sample) in whole for sample in data.tokens)


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("text", None, "cannot be read"),
        ("text", b"caf\xe9", "line 1 is not UTF-8"),
        ("text", b"short", "hold .* tokens"),
        ("chat", b"not json\n", "line 1, text: not JSON"),
        ("chat", b'{"messages": "hello"}\n', "line 1 is not a conversation"),
    ],
)
def test_a_bad_file_is_named(source: str, content: bytes | None, message: str, small_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "data"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        calibration_data(small_llama, Calibration(source=source, file=str(file)), seed=0)


def test_chat_without_a_template_is_refused(small_llama: Path, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(small_llama)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "config.json").write_bytes((small_llama / "config.json").read_bytes())
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "Hello"}]}))
    with pytest.raises(UserError, match="no chat template"):
        calibration_data(tmp_path / "base", Calibration(source="chat", file=str(file)), seed=0)


def test_random_tokens_leave_special_ones_out(small_llama: Path) -> None:
    data = calibration_data(small_llama, Calibration(source="random", samples=64, length=128), seed=0)
    special = set(transformers.AutoTokenizer.from_pretrained(small_llama).all_special_ids)
    assert not special & set(data.tokens.flatten().tolist())
    assert data.warnings == ()


def test_self_generated_text_is_drawn_from_the_model(small_llama: Path) -> None:
    """Each sample: the beginning of text, a token drawn uniformly, then the model's own, of full length and repeatable."""
    torch.manual_seed(123)
    data = calibration_data(small_llama, Calibration(samples=20, length=12), seed=0)
    after = torch.rand(1)
    torch.manual_seed(123)
    assert torch.equal(torch.rand(1), after), "the caller's random state is left alone"
    assert data.tokens.shape == (20, 12)
    assert (data.tokens[:, 0] == 1).all()
    assert not (data.tokens == 2).any()
    assert torch.equal(calibration_data(small_llama, Calibration(samples=20, length=12), seed=0).tokens, data.tokens)
    assert not torch.equal(calibration_data(small_llama, Calibration(samples=20, length=12), seed=1).tokens, data.tokens)
    assert len({tuple(sample) for sample in data.tokens.tolist()}) == 20


def test_a_pinned_recipe_names_its_file_by_content(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("some text")
    recipe = Recipe(rounding="gptq", calibration=Calibration(source="text", file=str(file)))
    assert pinned(recipe).calibration.sha256 == hashlib.sha256(b"some text").hexdigest()
    assert pinned(Recipe()) == Recipe()
    file.write_text("another text")
    with pytest.raises(UserError, match="has SHA-256"):
        pinned(recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"sha256": "0" * 64})}))
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        pinned(recipe)


def test_a_sample_longer_than_the_model_reads_is_refused(small_llama: Path) -> None:
    with pytest.raises(UserError, match=r"calibration\.length: 513 tokens, and the model reads 512"):
        calibration_data(small_llama, Calibration(source="random", length=513), seed=0)


def test_generated_tokens_are_counted(small_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_generated, "MOST_TOGETHER", 16)
    steps: list[tuple[int, int]] = []
    calibration_data(small_llama, Calibration(samples=17, length=6), 0, lambda done, all: steps.append((done, all)))
    first, second = [16 * each for each in (3, 4, 5, 6)], [96 + each for each in (3, 4, 5, 6)]
    assert steps == [(done, 102) for done in (*first, *second)]


@pytest.fixture
def byte_llama(save_tokenizer, tmp_path: Path) -> Path:
    """A random one-layer Llama whose tokenizer appends </s> to every text, and whose template prints the date."""
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ strftime_now('%Y') }}"
    config = transformers.LlamaConfig(
        vocab_size=save_tokenizer(tmp_path / "base", after=("</s>",), template=template), hidden_size=32, intermediate_size=64,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_conversation_is_read_as_it_is_written(byte_llama: Path, tmp_path: Path) -> None:
    """Byte-order mark, carriage returns, separators within a line, parts: the same tokens as of the plain file."""
    turns = [("user", "Name\u2028 a \u0085colour."), ("assistant", "Blue,\nlike the \x1csea.")]
    plain = [{"role": role, "content": text} for role, text in turns]
    parts = [{"role": role, "content": [{"type": "text", "text": one} for one in text.split("\n")]} for role, text in turns]
    found = []
    for number, (messages, mark, end) in enumerate([(plain, "", "\n"), (plain, "\ufeff", "\r\n"), (parts, "\ufeff", "\n")]):
        file = tmp_path / f"{number}.jsonl"
        file.write_bytes((mark + (json.dumps({"messages": messages}, ensure_ascii=False) + end) * 10).encode())
        found.append(calibration_data(byte_llama, Calibration(source="chat", file=str(file), samples=2, length=64), 0).tokens)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    null = [{"messages": plain}, {"messages": [{"role": "user", "content": None}]}]
    file.write_text("\n".join(map(json.dumps, null)), encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2 is not a conversation: messages\[0\]\.content is null"):
        calibration_data(byte_llama, Calibration(source="chat", file=str(file), samples=2, length=8), seed=0)


def test_a_byte_order_mark_is_no_part_of_a_text(byte_llama: Path, tmp_path: Path) -> None:
    text = "The quick brown fox\njumps over the lazy dog.\n" * 8
    found = []
    for content in (text.encode(), b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()):
        (tmp_path / "text.txt").write_bytes(content)
        calibration = Calibration(source="text", file=str(tmp_path / "text.txt"), samples=4, length=16)
        found.append(calibration_data(byte_llama, calibration, seed=0).tokens)
    assert torch.equal(*found)


@pytest.mark.parametrize("source", ["text", "chat", "random", "self"])
def test_windows_begin_with_bos_once_whatever_the_tokenizer_appends(source: str, byte_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "data"
    row = json.dumps({"messages": [{"role": "user", "content": "the cat sat on the mat" * 2}]}) + "\n"
    file.write_text(row * 20 if source == "chat" else "the cat sat on the mat " * 40, encoding="utf-8")
    given = str(file) if source in ("text", "chat") else None
    data = calibration_data(byte_llama, Calibration(source=source, file=given, samples=4, length=16), seed=0)
    assert data.tokens.shape == (4, 16)
    assert (data.tokens[:, 0] == 0).all()
    assert not (data.tokens[:, 1] == 0).any()
    assert not (data.tokens == 1).any()
    if source == "chat":
        assert "2024" in "".join(transformers.AutoTokenizer.from_pretrained(byte_llama).batch_decode(data.tokens))
