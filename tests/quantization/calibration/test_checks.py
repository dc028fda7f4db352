from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantization.calibration.checks import (  # noqa: E402
    base_warnings,
    count_warnings,
    json_syntax,
    missing_scripts,
    script_shares,
    untemplated,
)
from whichbits.quantization.calibration.data import calibration_data  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration  # noqa: E402

ENGLISH = """The Amazon rainforest covers most of the Amazon basin of South America. The majority of the forest is
in Brazil, followed by Peru and Colombia. She walked to the market in the morning and bought bread, three onions and a bag of
rice, then came home before the rain. The train was late again, so the children played cards in the waiting room. """
FINNISH = """Amazonin sademetsä on trooppinen sademetsä Etelä-Amerikan Amazonin altaalla. Se ulottuu yhdeksän maan
alueelle, pääasiassa Brasiliaan, Peruun ja Kolumbiaan. Hän meni aamulla torille ja osti leipää, kolme sipulia ja pussin riisiä,
sitten hän tuli kotiin ennen sadetta. Juna oli taas myöhässä, joten lapset pelasivat korttia odotushuoneessa. """


def test_counts_that_look_wrong_are_named() -> None:
    varied = torch.arange(2**14).reshape(16, 1024)
    assert list(count_warnings(varied)) == []
    assert "only 1024 tokens" in next(count_warnings(varied[:1]))
    padded = varied.clone()
    padded[:, 256:] = 0
    assert list(count_warnings(padded)) == ["token 0 makes up 75% of the calibration set"]
    assert list(count_warnings(varied[:1].expand(16, -1))) == ["only 1 of 16 calibration samples differ from one another"]


def test_scripts_are_counted_by_letters() -> None:
    assert script_shares(["ab 12", "жя", "中"]) == {"LATIN": 0.4, "CYRILLIC": 0.4, "CJK": 0.2}
    assert script_shares(["12 !"]) == {}


def test_a_script_of_the_vocabulary_that_the_text_lacks_is_named() -> None:
    vocabulary = {"LATIN": 0.8, "CJK": 0.17, "THAI": 0.03}
    (only,) = missing_scripts(vocabulary, {"LATIN": 1.0})
    assert only.startswith("17% of the vocabulary is in Cjk script")
    assert list(missing_scripts(vocabulary, {"LATIN": 0.9, "CJK": 0.1})) == []


def test_conversations_that_were_not_templated_are_named() -> None:
    line = '{"messages": [{"role": "user", "content": "Hello"}]}'
    assert len(list(untemplated(line, Calibration(source="text", file="a")))) == 1
    assert list(untemplated(line, Calibration(source="chat", file="a"))) == []
    assert list(untemplated("a plain text", Calibration(source="text", file="a"))) == []


@pytest.mark.parametrize(
    ("content", "json"),
    [
        (b'{"text": "one"}\n{"text": "two"}\n', True),
        (b'\xef\xbb\xbf[\n  {"text": "one"}]', True),
        (b'["one", "two"]', True),
        (b"[1] A note.", False),
        (b"{% raw %}", False),
        (b"[[a link]] in a text", False),
        (b"", False),
    ],
)
def test_json_that_is_taken_as_a_text_is_named(content: bytes, json: bool) -> None:
    assert bool(list(json_syntax(content))) == json


@pytest.mark.model
@pytest.mark.parametrize(("text", "foreign"), [(ENGLISH, False), (FINNISH, True)])
def test_the_base_says_which_language_is_far_from_its_own(
    text: str, foreign: bool, embedded_model: Path, tmp_path: Path
) -> None:
    """SmolLM2 was trained on English: it takes about one bit for a byte of it, and more than three for Finnish."""
    file = tmp_path / "text.txt"
    file.write_text(text * 3)
    data = calibration_data(embedded_model, Calibration(source="text", file=str(file), samples=3, length=64), seed=0)
    assert any("bits a byte" in warning for warning in data.warnings) == foreign


def test_a_missing_beginning_is_named(embedded_model: Path) -> None:
    """A base that predicts nothing without its beginning-of-text token 1, and every token perfectly after it."""

    def nats(tokens: torch.Tensor) -> torch.Tensor:
        return torch.full((len(tokens), tokens.shape[1] - 1), 0.0 if int(tokens[0, 0]) == 1 else 10.8)

    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_model)
    tokens = torch.arange(1000, 1064).reshape(2, 32)
    found = list(base_warnings(nats, tokenizer, tokens, start=[], beginning=1))
    assert any("no beginning-of-text token" in warning and "10.8 nats" in warning for warning in found)
    for start, beginning in (([1], 1), ([], None)):
        others = base_warnings(nats, tokenizer, tokens, start=start, beginning=beginning)
        assert not any("beginning-of-text" in warning for warning in others)
