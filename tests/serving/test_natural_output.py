"""Answers that end by themselves, of a server whose model ends after so many tokens."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from whichbits.schema.workload import Workload

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
pytest.importorskip("transformers")


def workload(folder: Path, prompts: int) -> Workload:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": " ".join(f"w{n + k}" for k in range(9))}) + "\n" for n in range(prompts)))
    return Workload.model_validate(
        {
            "name": "mine", "prompt_tokens": 9, "output_tokens": 40, "prompts": file, "concurrency": [],
            "natural_output": {"concurrency": 2},
        }
    )  # fmt: skip


def test_each_prompt_is_asked_once_and_may_end_early(start_engine, word_tokenizer: Path, tmp_path: Path) -> None:
    from whichbits.serving.natural_output import measure_natural

    url = start_engine(ttft=0.05, itl=0.005, stop_after=12)
    asked = workload(tmp_path, 12)
    assert asked.natural_output is not None
    found = measure_natural(url, "m", word_tokenizer, asked, asked.natural_output)
    assert found.valid or found.reasons[0].startswith("client saturated"), found.reasons
    assert found.tokens == (12,) * 12 and found.truncated == 0.0
    assert found.requests_per_second is not None and 5 < found.requests_per_second < 1.05 * 2 / 0.105
    received = httpx.get(f"{url}/received", trust_env=False).json()
    assert {(one["ignore_eos"], one["max_tokens"]) for one in received[1:]} == {(False, 40)}
    assert len({tuple(one["prompt"]) for one in received[3:]}) == 12, "after a warm-up of two, each prompt once"


def test_a_server_of_texts_gets_the_texts_of_the_file(start_engine, word_tokenizer: Path, tmp_path: Path) -> None:
    from whichbits.serving.natural_output import measure_natural

    url = start_engine(ttft=0.05, itl=0.005, ends=12, keeps=["min_tokens"], token_ids=False, refuses=["ignore_eos"])
    asked = workload(tmp_path, 12)
    assert asked.natural_output is not None
    found = measure_natural(url, "m", word_tokenizer, asked, asked.natural_output)
    assert found.tokens == (12,) * 12 and found.truncated == 0.0
    received = httpx.get(f"{url}/received", trust_env=False).json()[-12:]
    assert {" ".join(one["prompt"]) for one in received} == {" ".join(f"w{n + k}" for k in range(9)) for n in range(12)}
    assert {(one["min_tokens"], one["max_tokens"]) for one in received} == {(0, 40)}


def test_answers_that_are_cut_off_are_counted(start_engine, word_tokenizer: Path, tmp_path: Path) -> None:
    from whichbits.serving.natural_output import measure_natural

    asked = workload(tmp_path, 10).model_copy(update={"output_tokens": 6})
    assert asked.natural_output is not None
    found = measure_natural(start_engine(ttft=0.03, fail_every=11), "m", word_tokenizer, asked, asked.natural_output)
    assert not found.valid and found.reasons[0].startswith("errors: 1 requests failed")
    assert found.truncated == 1.0 and sorted(map(str, found.tokens)) == ["6"] * 9 + ["None"]


def test_random_tokens_have_no_end() -> None:
    with pytest.raises(ValueError, match="has no prompts"):
        Workload.model_validate({"name": "mine", "prompt_tokens": 9, "output_tokens": 9, "natural_output": {}})
