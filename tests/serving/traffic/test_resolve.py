from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whichbits.core.errors import UserError
from whichbits.schema.workload import Loads
from whichbits.serving.traffic.content import OwnContent, RandomContent
from whichbits.serving.traffic.resolve import content_of, recorded, with_lengths
from whichbits.serving.workload import parse_workload

VOCABULARY = np.arange(10, 90, dtype=np.int32)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,4\n1,20,6\n2,60,8\n")
    return path


def test_a_workload_of_a_log_has_its_lengths(log: Path, tmp_path: Path) -> None:
    fields = with_lengths({"name": "a", "trace": str(log)}, tmp_path)
    workload = parse_workload(fields)
    assert fields["prompt_tokens"] == {"mean": 30.0, "stdev": pytest.approx(np.std([10, 20, 60])), "min": 10, "max": 60}
    assert workload.longest_request == 68
    content = content_of(workload, VOCABULARY, tmp_path, 0)
    assert isinstance(content, RandomContent) and content.recorded == ((10, 4), (20, 6), (60, 8))
    assert len(recorded(workload)) == 3 and workload.file == log


def test_a_log_whose_times_are_not_used_still_gives_lengths(log: Path, tmp_path: Path) -> None:
    workload = parse_workload(with_lengths({"name": "a", "trace": {"file": str(log), "replay": False}}, tmp_path))
    assert not workload.open_loop
    assert content_of(workload, VOCABULARY, tmp_path, 0).request("concurrency 2", 2).output_tokens == 8
    replayed = parse_workload(with_lengths({"name": "a", "trace": str(log)}, tmp_path))
    assert replayed.at(Loads(in_flight=(4,))).trace == workload.trace
    assert replayed.at(Loads(trace=True)).trace == replayed.trace


def test_a_workload_of_prompts_has_their_lengths(word_tokenizer: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "w1 w2 w3 w4"}\n{"prompt": "w1 w2 w3 w4 w5 w6", "output_tokens": 3}\n')
    workload = parse_workload(with_lengths({"name": "a", "prompts": str(prompts), "output_tokens": 9}, word_tokenizer))
    assert workload.prompt_tokens == parse_workload({"name": "b", "prompt_tokens": {"mean": 5, "stdev": 1, "min": 4, "max": 6},
                                                     "output_tokens": 9}).prompt_tokens  # fmt: skip
    content = content_of(workload, VOCABULARY, word_tokenizer, 0)
    assert isinstance(content, OwnContent) and {one.output_tokens for one in content.prompts} == {9, 3}


@pytest.mark.parametrize(
    "fields",
    [
        {"trace": "log.csv", "prompt_tokens": 9},
        {"trace": {"file": "log.csv"}, "output_tokens": 9},
        {"prompts": "p.jsonl", "prompt_tokens": 9, "output_tokens": 9},
    ],
)
def test_lengths_are_given_once(fields: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lengths of its own"):
        with_lengths({"name": "a"} | fields, tmp_path)
    assert with_lengths({"name": "a", "trace": 7}, tmp_path) == {"name": "a", "trace": 7}
