"""Makes a user's mistake, checks that its error is the one meant, and follows the remedy until it works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import whichbits
from whichbits.core.errors import UserError

SOURCE = Path(whichbits.__file__).parent
TOOL = Path(__file__).parents[2] / "tools" / "errors.py"


@pytest.fixture(scope="session")
def catalogue() -> ModuleType:
    """The tool that reads all errors from the code."""
    specification = importlib.util.spec_from_file_location("whichbits_errors_tool", TOOL)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the tests of a file the remedies that they followed are those that `tests/golden/remedies` has of it."""
    TRIED.clear()
    yield
    options, file = request.config.option, request.path
    if options.keyword or options.markexpr or "::" in str(request.config.args) or file in INCOMPLETE:
        return
    found = sorted([site.module, site.message] for site in TRIED)
    golden = GOLDEN / f"{file.stem}.json"
    if os.environ.get("RECORD") and found:
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = json.loads(golden.read_text(encoding="utf-8")) if golden.exists() else []
    assert found == written, f"run: RECORD=1 python -m pytest {file}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember the files of which some test was skipped or failed."""
    report = yield
    if not report.passed:
        INCOMPLETE.add(item.path)
    return report


INCOMPLETE: set[Path] = set()
GOLDEN = Path(__file__).parents[1] / "golden" / "remedies"


@pytest.fixture(scope="session")
def follow(catalogue: ModuleType) -> Callable[..., UserError]:
    """`follow(error, mistake=..., remedy=...)`.

    `error` is a part of the error's message as docs/errors.md prints it; `mistake` raises it; `remedy` does what its remedy
    says, with everything else as it was, and must not raise.
    """
    sites = catalogue.sites()

    def run(error: str, *, mistake: Callable[[], Any], remedy: Callable[[], Any]) -> UserError:
        meant = [site for site in sites if error in site.message]
        assert meant, f"no error says {error!r}"
        with pytest.raises(UserError) as raised:
            mistake()
        line = str(raised.value)
        assert "\n" not in line
        assert any(_matches(site, raised.value) for site in meant), f"another error: {line}"
        remedy()
        TRIED.update(_raised_at(raised.value, sites) or [site for site in meant if _matches(site, raised.value)])
        return raised.value

    return run


@pytest.fixture(scope="session")
def follow_line(catalogue: ModuleType) -> Callable[..., None]:
    """`follow_line(error, said=..., remedy=...)`: as `follow`, of a line that has been printed (`said`)."""
    sites = catalogue.sites()

    def run(error: str, *, said: str, remedy: Callable[[], Any]) -> None:
        message, arrow, told = " ".join(said.split()).partition(" → ")
        found = [site for site in sites if error in site.message and re.search(_pattern(site.message), message)]
        assert found, f"another error: {message}"
        assert arrow
        assert any(re.search(_pattern(site.remedy), told) for site in found), f"another remedy: {told}"
        remedy()
        TRIED.update(found)

    return run


TRIED: set[Any] = set()
"""Places in the code whose remedies have been followed by the file of tests that runs."""


def _raised_at(error: BaseException | None, sites: Sequence[Any]) -> set[Any]:
    """The places that made an error and what it was made of, by the lines of its traceback.

    An error that came from another process has none; one that a function returned to who raised it has the caller's.
    """
    found = set()
    while isinstance(error, UserError):
        lines = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        for file, line in lines:
            here = [site for site in sites if file == SOURCE / site.module and site.first <= (line or 0) <= site.last]
            found |= {site for site in here if _matches(site, error)}
        error = error.__cause__
    return found


@pytest.fixture
def fake() -> Iterator[Callable[..., Any]]:
    """Starts a completions server with oddities; see `fake_server.py`."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "engines" / "fake_server.py"))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        server = script["FakeServer"](**options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def _matches(site: Any, error: UserError) -> bool:
    """Whether an error is one of a place in the code: its text is the template with values in the braces."""
    line = _plain(error.message)
    return any(re.search(_pattern(text), line) for text in (site.message, *site.message.split(" / ")))


def _pattern(template: str) -> str:
    return ".*".join(re.escape(_plain(part)) for part in re.split(r"\{[^{}]*\}", template))


def _plain(text: str) -> str:
    return " ".join(text.split())


LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128,
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A random two-layer model of a family (BF16, width 32) with a tokenizer of 64 words, built once."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models

    folders: dict[str, Path] = {}

    def build(family: str = "Llama", **fields: Any) -> Path:
        key = repr((family, fields))
        if key not in folders:
            folder = folders[key] = tmp_path_factory.mktemp(family.lower())
            sizes = {**LLAMA, "hidden_size": 32, "intermediate_size": 64, "bos_token_id": 0, "eos_token_id": 1}
            sizes.pop("model_type")
            config = getattr(transformers, f"{family}Config")(**sizes, **fields)
            transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
            words = {word: number for number, word in enumerate(["<s>", "</s>", *(f"w{number}" for number in range(62))])}
            backend = Tokenizer(models.WordLevel(words, unk_token="<s>"))
            transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(
                folder
            )
        return folders[key]

    return build


@pytest.fixture
def make(built: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Such a model in a folder of its own."""

    def copy(family: str = "Llama", *, name: str = "model", **fields: Any) -> Path:
        return Path(shutil.copytree(built(family, **fields), tmp_path / name))

    return copy


@pytest.fixture
def resolved(tmp_path: Path) -> Callable[..., Any]:
    """Resolves a folder."""

    def look(folder: Path, **options: Any) -> Any:
        from whichbits.models.resolve import resolve

        return resolve(str(folder), cache=tmp_path / "cache", **options)

    return look


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama (BF16, width 32) with a tokenizer of 64 words and a chat template."""
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
