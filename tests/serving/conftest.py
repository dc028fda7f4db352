from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

StartEngine = Callable[..., str]


@pytest.fixture
def start_engine() -> Iterator[StartEngine]:
    """Starts `engine.py` with options and gives its URL; ends it after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(**options: Any) -> str:
        script = Path(__file__).parent / "engine.py"
        process = subprocess.Popen([sys.executable, str(script), json.dumps(options)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tokenizer of 3,000 words and two special tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {"<unk>": 0, "<eos>": 1} | {f"w{i}": i + 2 for i in range(3000)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
