"""The command `predict`: rows with numbers for machines and intervals that people read; options that exclude each other."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from whichbits.cli.app import app
from whichbits.cli.predict import predict
from whichbits.core.errors import UserError

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
ASKED = ["predict", "--model", LLAMA, "--hardware", "A100", "--workload", "256/128"]


def test_intervals_are_pairs_in_json_and_text_in_a_table() -> None:
    shown = CliRunner().invoke(app, [*ASKED, "--json"])
    rows = json.loads(shown.stdout)
    assert [row["format"] for row in rows] == ["bf16", "w8a8-fp", "w8a8-int", "w4a16-int"]
    base, quick = rows[0], rows[3]
    low, high = quick["speedup_80"]
    assert low < quick["speedup"] < high
    assert base["speedup_80"] is None
    assert f"{low:.3g} – {high:.3g}" in CliRunner().invoke(app, ASKED).stdout


def test_a_table_has_a_column_a_format_also_where_one_is_refused() -> None:
    shown = CliRunner().invoke(app, ASKED)
    assert shown.exit_code == 0
    assert "w8a8-fp" in shown.output
    assert "FP8 tensor cores" in " ".join(shown.output.split())


def test_a_ranking_has_a_row_a_deployment() -> None:
    words = ["predict", "--model", LLAMA, "--workload", "rag", "--all-hardware", "--count", "1"]
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert {row["count"] for row in rows} == {1}
    priced = [row["dollars_per_1000"] for row in rows if row["dollars_per_1000"] is not None]
    assert priced == sorted(priced)
    assert len(priced) > 4
    lines = CliRunner().invoke(app, words, env={"COLUMNS": None}).stdout.splitlines()
    answered = [row for row in rows if row["qps"] is not None]
    assert len(lines) == 2 + len(answered) < len(rows), "a line a deployment with an answer, in a pipe"
    assert lines[-1].startswith(f"{len(rows) - len(answered)} of {len(rows)} deployments have no answer")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"concurrency": "2", "rate": 1.0}, "both given"),
        ({"concurrency": "many"}, "'many'"),
        ({"all_hardware": True}, "--all-hardware and --hardware are both given"),
        ({"max_tpot": 0.1, "rate": 1.0}, "--max-tpot and --rate are both given"),
        ({"max_ttft": 0.0}, "max_ttft: 0 is not a positive number"),
        ({"hardware": ""}, "--hardware: is missing"),
        ({"workload": ""}, "--workload: is missing"),
        ({"out": Path("out.csv")}, "answers to --points"),
        ({"points": Path("in.csv"), "out": Path("out.csv")}, "--points and --model, --hardware, --workload are both given"),
    ],
)
def test_options_that_exclude_each_other_are_refused(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        predict(**{"model": LLAMA, "hardware": "A100", "workload": "256/128", **arguments})


def test_points_without_a_file_for_the_answers_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        predict(points=tmp_path / "absent.csv")
