"""Remedies of whichbits.predict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.prediction.batch import predict_points, predict_rows
from whichbits.prediction.model.coefficients import Coefficients, load, parameters
from whichbits.prediction.model.kernels import engine
from whichbits.prediction.output import check_writable, write_whole
from whichbits.prediction.predictor import predict
from whichbits.prediction.query import COLUMNS, parse_concurrency, question, read_rows
from whichbits.prediction.training.calibrate import calibrate
from whichbits.prediction.training.measurements import aiconfigurator, measurements

POINT = {
    "model": "llama-3.1-8b",
    "format": "bf16",
    "hardware": "A100",
    "count": "1",
    "prompt_tokens": "256",
    "output_tokens": "128",
    "concurrency": "1",
}


def table(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def asked(**changes: Any):
    """The answer to the point, asked with other arguments."""
    plain = {"model": "llama-3.1-8b", "format": "bf16", "hardware": "A100", "prompt_tokens": 256, "output_tokens": 128}
    answer = predict(**{**plain, **changes})
    assert answer.latency_s
    return answer


@pytest.fixture(scope="module")
def fitted() -> Coefficients:
    """What `whichbits calibrate` finds in one measurement."""
    return calibrate([{**POINT, "latency_s": "2.5"}])


def test_a_table_without_rows_or_columns(follow: Any, tmp_path: Path):
    path = tmp_path / "in.csv"

    def answer() -> None:
        assert predict_points(path, tmp_path / "out.csv") == (1, 1)

    def as_told() -> None:
        table(path, POINT)
        answer()

    path.write_text(",".join(COLUMNS) + "\n")
    follow("{csv_in}: no rows", mistake=answer, remedy=as_told)
    table(path, {name: cell for name, cell in POINT.items() if name != "count"})
    follow("{csv_in}: has no column {missing}", mistake=answer, remedy=as_told)


def test_answers_in_place_of_questions(follow: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    table(path, POINT)
    before = path.read_bytes()
    follow(
        "is the file of questions",
        mistake=lambda: predict_points(path, tmp_path / "." / "in.csv"),
        remedy=lambda: predict_points(path, tmp_path / "out.csv"),
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("said", "content"),
    [("cannot be read", None), ("is not UTF-8", "modèle,format\n".encode("latin-1")), ("is not CSV", b'model,format\n"a,b\n')],
)
def test_a_table_that_cannot_be_read(follow: Any, tmp_path: Path, said: str, content: bytes | None):
    path = tmp_path / "in.csv"
    if content is not None:
        path.write_bytes(content)
    follow(said, mistake=lambda: read_rows(path), remedy=lambda: read_rows(table(path, {"modèle": "a", "format": "bf16"})))


def test_serving_results_without_a_value(follow: Any, fitted: Coefficients):
    error = follow("serving results: no measured value", mistake=lambda: calibrate([POINT]), remedy=lambda: fitted)
    for column in error.remedy.removeprefix("fill one of ").split(", "):
        assert measurements([{**POINT, column: "2.5"}], "mine.csv")


def test_a_measured_value_that_is_none(follow: Any):
    def measured(**cells: str) -> None:
        assert measurements([{**POINT, "latency_s": "2.5", **cells}], "mine.csv")

    for cell in ("0.5", ""):
        for message in ("{name}: {text} is not a positive number", "{source}, line {number}: {message}"):
            follow(message, mistake=lambda: measured(qps="-"), remedy=lambda cell=cell: measured(qps=cell))


def test_coefficients_that_cannot_be_read(follow: Any, fitted: Coefficients, tmp_path: Path):
    path = tmp_path / "mine.json"
    for content in (None, "{", "[]", '{"values": {}}'):
        if content is not None:
            path.write_text(content)
        follow("coefficients: cannot read {path}", mistake=lambda: load(path), remedy=lambda: None)
    fitted.save(path)
    load(path)


def _unsure(fields: dict[str, Any]) -> None:
    fields["values"][next(iter(fields["values"]))] = 0


def _beyond_meaning(fields: dict[str, Any]) -> None:
    fields["values"]["overlap"] = 1e9


def _without_a_tier(fields: dict[str, Any]) -> None:
    del fields["errors"]["roofline-only" if "roofline-only" in fields["errors"] else next(iter(fields["errors"]))]


def _without_a_value(fields: dict[str, Any]) -> None:
    del fields["values"][next(iter(parameters()))]


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        ("has numbers that are not positive", _unsure),
        ("does not have the errors of each tier", _without_a_tier),
        ("coefficients: {path}: {wrong}", _beyond_meaning),
        ("coefficients: {path} lacks {missing}", _without_a_value),
    ],
)
def test_coefficients_of_another_kind(
    follow: Any, fitted: Coefficients, tmp_path: Path, message: str, spoil: Callable[[dict[str, Any]], None]
):
    def again() -> None:
        fitted.save(path)
        load(path)

    path = tmp_path / "mine.json"
    fitted.save(path)
    fields = json.loads(path.read_text())
    spoil(fields)
    path.write_text(json.dumps(fields))
    follow(message, mistake=lambda: load(path), remedy=again)


def test_an_engine_that_is_not_known(follow: Any):
    for version in ("vllm==0.7.2", "vllm"):
        error = follow(
            "has no version after ==", mistake=lambda: engine("vllm==new"), remedy=lambda version=version: engine(version)
        )
        assert "vllm==0.7.2" in error.remedy
    error = follow("engine: {name} is not known", mistake=lambda: engine("ollama"), remedy=lambda: None)
    for name in error.remedy.removeprefix("one of ").split(", "):
        assert engine(name).name == name


def test_a_precision_that_is_not_known(follow: Any, tmp_path: Path):
    plain = {
        "model_path": "llama-3.1-8b", "system": "H100", "tp_size": "1", "gemm_quant_mode": "fp8", "backend": "vllm",
        "isl": "256", "osl": "128", "batch_size": "1", "silicon_tpot_ms": "10", "silicon_ttft_ms": "50",
    }  # fmt: skip
    path = tmp_path / "silicon.csv"
    follow(
        "gemm_quant_mode {unknown} is not known",
        mistake=lambda: aiconfigurator(table(path, plain, {**plain, "gemm_quant_mode": "int3"})),
        remedy=lambda: aiconfigurator(table(path, plain)),
    )


def test_where_answers_cannot_be_written(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "new"
    follow(
        "{field}: {path} is a folder",
        mistake=lambda: check_writable("out", tmp_path),
        remedy=lambda: check_writable("out", tmp_path / "out.csv"),
    )

    def make() -> None:
        folder.mkdir()
        check_writable("out", folder / "out.csv")

    for remedy in (lambda: check_writable("out", tmp_path / "out.csv"), make):
        follow("{field}: {parent} is no folder", mistake=lambda: check_writable("out", folder / "out.csv"), remedy=remedy)

    monkeypatch.setattr("os.access", lambda path, _: Path(path) != folder)
    follow(
        "{field}: {path} cannot be written",
        mistake=lambda: check_writable("out", folder / "out.csv"),
        remedy=lambda: check_writable("out", tmp_path / "out.csv"),
    )
    follow(
        "{field}: {path}: {strerror}",
        mistake=lambda: write_whole("out", folder / ("a" * 300), ""),
        remedy=lambda: write_whole("out", folder / "out.csv", ""),
    )


def test_a_price_that_is_none(follow: Any):
    for price in (0.0, float("inf")):
        follow(
            "price: {price} is not a positive number",
            mistake=lambda price=price: asked(price_per_hour=price),
            remedy=lambda: asked(price_per_hour=2.0),
        )


def test_concurrency_and_rate(follow: Any):
    both = {"concurrency": 2, "rate": 0.1}
    for name, value in both.items():
        follow(
            "concurrency and rate are both given",
            mistake=lambda: asked(**both),
            remedy=lambda name=name, value=value: asked(**{name: value}),
        )
    for wrong in ("many", "0", "nan", 0.5):
        for told in (4, "4", "max"):
            follow(
                "concurrency: {text} is not a number from 1" if isinstance(wrong, str) else "concurrency: {concurrency} is not",
                mistake=lambda wrong=wrong: parse_concurrency(wrong) if isinstance(wrong, str) else asked(concurrency=wrong),
                remedy=lambda told=told: parse_concurrency(told) if isinstance(told, str) else asked(concurrency=told),
            )
    for rate in (0.0, -1.0, float("inf")):
        follow(
            "rate: {rate} is not a positive number",
            mistake=lambda rate=rate: asked(rate=rate),
            remedy=lambda: asked(rate=0.1),
        )


def test_numbers_that_cannot_be(follow: Any):
    for name in ("count", "prompt_tokens", "output_tokens"):
        follow(
            "{name}: {value} is not a whole number from 1",
            mistake=lambda name=name: asked(**{name: 0}),
            remedy=lambda name=name: asked(**{name: 1}),
        )
        error = follow(
            "{name}: {value} is more than {most}",
            mistake=lambda name=name: asked(**{name: 10**12}),
            remedy=lambda: None,
        )
        predict_rows([{**POINT, name: error.message.rpartition(" ")[2]}])
        for cell in ("two", "1.5"):
            follow(
                "{name}: {cells} is not a whole number",
                mistake=lambda name=name, cell=cell: question({**POINT, name: cell}),
                remedy=lambda name=name: question({**POINT, name: "1"}),
            )
    for parallel in (3, 0):
        for told in (1, 2, 4):
            follow(
                "does not divide the count",
                mistake=lambda parallel=parallel: asked(count=4, tensor_parallel=parallel),
                remedy=lambda told=told: asked(count=4, tensor_parallel=told),
            )


def test_rows_with_more_or_fewer_cells(follow: Any, tmp_path: Path):
    path = tmp_path / "in.csv"
    header, cells = ",".join([*COLUMNS, "note"]), ",".join(POINT[name] for name in COLUMNS)

    def first(text: str):
        path.write_text(text)
        return question(read_rows(path)[0])

    for told in (f'{header}\n{cells},"a, b"\n', f"{header},more\n{cells},a, b\n"):
        follow(
            "the row has more cells than the header",
            mistake=lambda: first(f"{header}\n{cells},a, b\n"),
            remedy=lambda told=told: first(told),
        )
    for name in COLUMNS:
        follow("{name}: is missing", mistake=lambda name=name: question({**POINT, name: " "}), remedy=lambda: question(POINT))
