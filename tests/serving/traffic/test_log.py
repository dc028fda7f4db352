from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.serving.traffic.log import Request, read_log

MOONCAKE = [
    {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]},
    {"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]},
]
BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,Conversation log
120,GPT-4,1360,276,1636,Conversation log
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:01:51.1622290,3180,8
2023-11-16 18:01:50.9622290,110,27
"""


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("mooncake.jsonl", lines(MOONCAKE), [(0.0, 6955, 52), (3.053, 6472, 26)]),
        ("burstgpt.csv", BURSTGPT, [(0.0, 472, 18), (40.0, 1087, 230), (115.0, 1360, 276)]),
        ("azure.csv", AZURE, [(0.0, 110, 27), (0.2, 3180, 8)]),
        (
            "own.jsonl",
            lines([{"arrival_s": t, "prompt_tokens": 9, "output_tokens": 3, "user": "\u2028"} for t in (7.5, 7.0)]) + "\n\n",
            [(0.0, 9, 3), (0.5, 9, 3)],
        ),
        ("windows.csv", "\ufeff" + BURSTGPT.replace("\n", "\r\n"), [(0.0, 472, 18), (40.0, 1087, 230), (115.0, 1360, 276)]),
    ],
)
def test_known_forms(tmp_path: Path, name: str, text: str, found: list[tuple[float, int, int]]) -> None:
    path = tmp_path / name
    path.write_text(text, newline="")
    read = read_log(path)
    assert [(one.prompt_tokens, one.output_tokens) for one in read] == [one[1:] for one in found]
    assert [one.arrival_s for one in read] == pytest.approx([one[0] for one in found], abs=1e-6)
    assert all(isinstance(one, Request) for one in read)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "when,prompt\n1,2\n", "has the fields when, prompt"),
        ("a.jsonl", '{"arrival_s": 0, "prompt_tokens": 9, "output_tokens": 1}\nnonsense\n', "line 2, text: not JSON"),
        ("a.jsonl", "[1, 2]\n", "line 1 is not an object"),
        ("a.jsonl", '{"arrival_s": NaN, "prompt_tokens": 9, "output_tokens": 1}\n', "line 1"),
        ("a.csv", BURSTGPT.replace("45", "soon"), "line 3"),
        ("a.csv", BURSTGPT.replace("1087", "-1087"), "line 3"),
        ("a.csv", BURSTGPT.replace(",230,1317,Conversation log", ""), "line 3"),
        ("a.csv", "\n".join(BURSTGPT.splitlines()[:2]), "no two requests"),
        ("a.csv", "", "no two requests"),
    ],
)
def test_what_is_no_log_is_refused_by_its_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read_log(path)
    assert problem in str(refused.value) and refused.value.remedy


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv"):
        read_log(tmp_path / "none.csv")


ROW = '{"arrival_s": %s, "prompt_tokens": %s, "output_tokens": %s}\n'


@pytest.mark.parametrize(
    "row",
    [
        ("NaN", 9, 3), ("1e999", 9, 3), ("true", 9, 3), ("1" + "0" * 400, 9, 3), (0, "1e999", 3), (0, "NaN", 3), (0, "true", 3),
        (0, 100.9, 3), (0, "1" + "0" * 400, 3), (0, 9, "Infinity"), (0, 9, 3.5), (0, 9, -1), (0, "null", 3),
        (0, "[" * 20_000, 3), (0, "1" * 5000, 3), (0, 10**12, 3), (0, 9, "[9]"), (0, '{"tokens": 9}', 3),
    ],
)  # fmt: skip
def test_a_number_that_is_none_names_its_line(tmp_path: Path, row: tuple[object, ...]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(ROW % (1, 9, 3) + ROW % row)
    with pytest.raises(UserError, match="line 2") as caught:
        read_log(path)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("row", ["0,100.9,1", "0,nan,1", "0,1e999,1", "inf,1,1", "0,1"])
def test_a_number_of_a_table_that_is_none_names_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"arrival_s,prompt_tokens,output_tokens\n1,9,3\n{row}\n")
    with pytest.raises(UserError, match="line 3") as caught:
        read_log(path)
    assert len(caught.value.message) < 500
