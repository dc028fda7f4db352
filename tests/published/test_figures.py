"""Every figure of the tables of accuracy is the printed one; errata are flagged, with what is right."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.published.figures import ERRATA
from whichbits.published.tables import all_figures, figures, same_model, tables

LLAMA = {size: f"meta-llama/Llama-3.1-{size}-Instruct" for size in ("8B", "70B", "405B")}
FORMATS = {
    "BF16": "bf16", "W8A8-FP": "w8a8-fp", "FP8": "w8a8-fp", "FP8-dynamic": "w8a8-fp", "W8A8-INT": "w8a8-int",
    "INT8": "w8a8-int", "w8a8": "w8a8-int",
    "W4A16-INT": "w4a16-int", "INT4": "w4a16-int", "w4a16": "w4a16-int", "w8a16": "w8a16-int",
    "NVFP4": "nvfp4", "GPTQ": "w4a16-int", "AWQ": "w4a16-int",
}  # fmt: skip
V1 = ["mmlu_llama", "mmlu_cot_llama", "arc_challenge_llama", "gsm8k_llama", "hellaswag", "winogrande", "truthfulqa_mc2"]
V2 = ["ifeval", "bbh", "math_hard", "gpqa", "musr", "mmlu_pro"]
V2 = [f"leaderboard_{name}" for name in V2]
RECOVERED = ["arena-hard", "leaderboard-v1", "leaderboard-v2", "humaneval", "humaneval_plus"]


def printed_rows(table: str) -> list[list[str]]:
    """The cells of a table of printed.md, without its header."""
    text = Path(__file__).with_name("printed.md").read_text(encoding="utf-8")
    block = text.partition(f"## {table}\n")[2].partition("\n## ")[0]
    lines = [line for line in block.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(cell: str) -> str:
    return re.search(r"-?\d+(\.\d+)?", cell.replace("−", "-"))[0]  # type: ignore[index]


def expected(table: str) -> list[tuple[str, str, str, str, str, str]]:
    """(model, format, method, on, quantity, printed) of every cell."""
    found: list[tuple[str, str, str, str, str, str]] = []
    last = ""
    for row in printed_rows(table):
        words = row[0].replace("‡", "").split()
        match table:
            case "table-2" | "table-3" | "table-7" | "similarity":
                who, cells = (LLAMA[row[0]], FORMATS[row[1]], ""), row[2:]
            case "table-4-14":
                last = row[0] or last
                who, cells = (f"deepseek-ai/DeepSeek-R1-Distill-{last}", FORMATS[row[1]], ""), row[2:]
            case "table-1" | "table-12" | "table-13":
                method = "" if words[1] == "BF16" else words[1].lower()
                who, cells = (LLAMA[words[0]], FORMATS[words[1]], method), row[1:]
            case "model-cards":
                later = words[0].startswith("Llama")
                model = f"meta-llama/{words[0]}" if later else LLAMA[words[0]]
                model = {"meta-llama/Llama-4-Scout": f"{model}-17B-16E-Instruct"}.get(model, model + "-Instruct" * later)
                who, cells = (model, FORMATS[words[1]], "attention kept in BF16" if "attn" in row[0] else ""), row[1:]
            case _:
                who, cells = (LLAMA[words[0]], FORMATS[words[1]], ""), row[1:]
        suite = {"table-2": "leaderboard-v1", "table-3": "leaderboard-v2", "table-4-14": "reasoning"}.get(table)
        if suite is not None:
            found += [(*who, suite, "recovery", cells[0]), (*who, suite, "average", cells[1])]
            cells = cells[2:]
        match table:
            case "table-2":
                found += [(*who, task, "score", cell) for task, cell in zip(V1, cells, strict=True)]
            case "table-3":
                names = [*V2, "arena-hard", "humaneval", "humaneval_plus", "ruler"]
                found += [(*who, task, "score", cell) for task, cell in zip(names, cells, strict=True)]
            case "table-4-14":
                for task, cell in zip(["aime24", "math_500", "gpqa_diamond"], cells, strict=True):
                    score, _, std = cell.partition("±")
                    found += [(*who, task, "score", score), (*who, task, "std", std)]
            case "table-7":
                low, high = re.findall(r"−?[\d.]+", cells[3])
                named = zip(["score-run-1", "score-run-2", "score"], cells, strict=False)
                found += [(*who, "arena-hard", quantity, cell) for quantity, cell in named]
                found += [(*who, "arena-hard", "interval-low", low), (*who, "arena-hard", "interval-high", high)]
            case "table-10-11":
                found += [(*who, task, "recovery", cell) for task, cell in zip(V1 + V2, cells, strict=True)]
            case "table-1":
                averages = ["academic", "leaderboard-v1", "leaderboard-v2", "real-world"]
                found += [(*who, on, "average", cell) for on, cell in zip(averages, cells[:4], strict=True)]
                names = ["arena-hard", "humaneval", "mbpp"]
                found += [(*who, on, "score", cell) for on, cell in zip(names, cells[4:], strict=True)]
            case "table-12" | "table-13":
                suite, names = ("leaderboard-v1", V1) if table == "table-12" else ("leaderboard-v2", V2)
                found.append((*who, suite, "average", cells[0]))
                found += [(*who, task, "score", cell) for task, cell in zip(names, cells[1:], strict=True)]
            case "similarity":
                measures = ["rouge1", "rougeL", "bertscore", "sts"]
                found += [(*who, "arena-hard", measure, cell) for measure, cell in zip(measures, cells, strict=True)]
            case "model-cards":
                for on, cell in zip(RECOVERED, cells, strict=True):
                    setting = "pass@2" if "pass@2" in cell else who[2]
                    found.append((*who[:2], setting, on, "recovery", cell.removeprefix("pass@2 ")))
    return [(*each[:5], number(each[5])) for each in found if each[5] not in ("", "–")]


TRANSCRIBED = [
    "table-1", "table-2", "table-3", "table-4-14", "table-7", "table-10-11", "table-12", "table-13", "similarity",
    "model-cards",
]  # fmt: skip


@pytest.mark.parametrize("table", TRANSCRIBED)
def test_every_figure_is_the_printed_one(table: str) -> None:
    ours = [(f.model, f.format, f.setting, f.on, f.quantity, f.printed) for f in figures(table)]
    assert ours == expected(table)


def test_tables_hold_so_many_figures() -> None:
    assert {table.name: (table.figures, table.errata) for table in tables()} == {
        "table-1": (42, 4), "table-2": (108, 0), "table-3": (140, 2), "table-4-14": (192, 0), "table-5": (252, 6),
        "table-6": (252, 25), "cost-reduction": (24, 1),
        "table-7": (60, 0), "table-8": (12, 1), "table-10-11": (117, 0), "table-12": (32, 4),
        "table-13": (42, 0), "similarity": (36, 0), "model-cards": (49, 2), "r1-latency": (72, 0), "r1-rate": (72, 0),
        "openpangu": (22, 0),
    }  # fmt: skip


def test_every_erratum_is_explained_and_what_is_right_is_what_is_used() -> None:
    wrong = [figure for figure in all_figures() if figure.erratum is not None]
    assert {figure.erratum for figure in wrong} == set(ERRATA)
    corrected = {(f.table, f.model, f.format, f.on): (f.printed, f.value) for f in wrong if f.corrected is not None}
    assert corrected == {
        ("table-3", LLAMA["70B"], "w8a8-int", "arena-hard"): ("57.0", 56.3),
        ("table-3", LLAMA["70B"], "w4a16-int", "arena-hard"): ("56.3", 57.0),
        ("table-8", LLAMA["70B"], "w4a16-int", "arena-hard"): ("56.3", 56.65),
        ("model-cards", LLAMA["8B"], "w8a8-fp", "arena-hard"): ("105.4", 103.9),
        ("model-cards", LLAMA["70B"], "w8a8-int", "leaderboard-v2"): ("100.0", 97.3),
    }


def test_the_marks_of_the_transcription_are_the_errata() -> None:
    swapped = [row for row in printed_rows("table-3") if "†" in "".join(row)]
    assert [row[1] for row in swapped] == ["W8A8-INT", "W4A16-INT"]
    differing = [row[0] for row in printed_rows("table-12") if "‡" in row[0]]
    ours = [f for f in figures("12") if f.erratum == "mmlu-70b-differs"]
    assert len(ours) == 2 * len(differing)
    for mine, other in pairwise(ours):
        assert {mine.on, other.on} == {"leaderboard-v1", "mmlu_llama"}


@pytest.mark.parametrize(("asked", "table"), [("2", "table-2"), ("Table 14", "table-4-14"), ("11", "table-10-11")])
def test_a_table_is_found_by_its_number(asked: str, table: str) -> None:
    assert figures(asked)[0].table == table


def test_a_table_that_is_none() -> None:
    with pytest.raises(UserError, match="9") as caught:
        figures("table-9")
    assert "openpangu" in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "same"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", True),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct@main", True),
        ("/models/Llama-3.1-8B-Instruct/", True),
        ("/hub/models--meta-llama--Llama-3.1-8B-Instruct/snapshots/0e9e39f/", True),
        ("meta-llama/Llama-3.1-8B", False),
        ("meta-llama/Llama-3.1-70B-Instruct", False),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", False),
    ],
)
def test_a_model_is_known_by_its_name(reference: str, same: bool) -> None:
    assert same_model(reference, LLAMA["8B"]) is same
