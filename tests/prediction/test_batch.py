import csv
import time
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.prediction.batch import predict_points
from whichbits.prediction.predictor import predict

HEADER = "model,format,hardware,count,prompt_tokens,output_tokens,concurrency,note"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def run(tmp_path: Path, *lines: str, header: str = HEADER) -> list[dict[str, str]]:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("\n".join([header, *lines]) + "\n")
    predict_points(source, target)
    return list(csv.DictReader(target.read_text().splitlines()))


def test_rows_come_back_with_the_answers_of_predict(tmp_path: Path) -> None:
    rows = run(tmp_path, f"{LLAMA},w8a8-int,A100,1,512,256,8,mine", f"{LLAMA},bf16,H100,1,256,128,max,")
    alone = predict(LLAMA, "w8a8-int", "A100", prompt_tokens=512, output_tokens=256, concurrency=8)
    assert float(rows[0]["latency_s"]) == pytest.approx(alone.latency_s, rel=1e-5)
    assert float(rows[0]["qps_high_95"]) == pytest.approx(alone.intervals["qps"][95][1], rel=1e-5)
    assert rows[0]["note"] == "mine"
    assert (rows[0]["tier"], rows[0]["provenance"], rows[0]["reason"]) == (alone.tier, "predicted", "")
    assert float(rows[1]["qps_steady"]) > float(rows[1]["qps"]) > 1


def test_a_row_without_an_answer_says_why_and_spares_the_others(tmp_path: Path) -> None:
    rows = run(
        tmp_path, f"{LLAMA},w8a8-fp,A100,1,512,256,1,", f"{LLAMA},bf16,H900,1,512,256,1,", f"{LLAMA},fp8,H100,1,512,256,1,"
    )
    assert "no FP8 tensor cores" in rows[0]["reason"]
    assert "H900" in rows[1]["reason"]
    assert rows[0]["latency_s"] == rows[1]["latency_s"] == ""
    assert float(rows[2]["latency_s"]) > 0


def test_optional_columns(tmp_path: Path) -> None:
    rows = run(tmp_path, f"{LLAMA},bf16,H100,2,512,256,4,1,trtllm", header=HEADER.replace("note", "tensor_parallel,engine"))
    assert (rows[0]["tensor_parallel_used"], rows[0]["replicas"]) == ("1", "2")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{LLAMA},bf16,H100,1,512,256,many,", "concurrency: 'many'"),
        (f"{LLAMA},bf16,H100,two,512,256,1,", "count: 'two' is not a whole number"),
        (f"{LLAMA},bf16,H100,1.5,512,256,1,", "count: '1.5' is not a whole number"),
        (f"{LLAMA},bf16,H100,0,512,256,1,", "count: 0"),
        (f"{LLAMA},,H100,1,512,256,1,", "format: is missing"),
        (f"{LLAMA},bf16,H100", "count: is missing"),
        (",bf16,H100,1,512,256,1,", "model: is missing"),
        (f"{LLAMA},w3a3,H100,1,512,256,1,", "w3a3"),
        (f"{LLAMA},bf16,H100,1,512,256,1,mine,and more", "more cells than the header"),
        (f"{LLAMA},bf16,H100,1,512,256,nan,", "concurrency: 'nan'"),
        (f"{LLAMA},bf16,H100,1,512,256,1e400,", "concurrency: '1e400'"),
        (f"{LLAMA},bf16,H100,1e300,512,256,1,", "count: "),
        (f"{LLAMA},bf16,H100,1,inf,256,1,", "prompt_tokens: 'inf'"),
        (f"{LLAMA},bf16,H100,1,512,1e12,1,", "output_tokens: "),
        (f"{LLAMA},bf16,H100,1,-512,256,1,", "prompt_tokens: -512"),
        (f"{LLAMA},bf16,NVIDIA H100 80GB HBM3 MIG 1g.10gb,1,512,256,1,", "MIG"),
        ("/models/nowhere/Qwen3-8B,bf16,H100,1,512,256,1,", "/models/nowhere/Qwen3-8B"),
    ],
)
def test_a_row_that_cannot_be_read_says_so_and_spares_the_others(tmp_path: Path, line: str, why: str) -> None:
    bad, good = run(tmp_path, line, f"{LLAMA},bf16,H100,1,512,256,4,")
    assert why in bad["reason"]
    assert bad["latency_s"] == ""
    assert float(good["latency_s"]) > 0


def test_tables_as_other_programs_write_them(tmp_path: Path) -> None:
    # A byte-order mark, numbers as floats, and cells that are left out at the end.
    header = "\ufeff" + HEADER.replace("note", "tensor_parallel,engine")
    two, one = run(tmp_path, f"{LLAMA},bf16,H100,2.0,512,256,4.0,2.0,", f" {LLAMA} ,bf16,H100,2,512,256,MAX", header=header)
    assert two["tensor_parallel_used"] == "2"
    assert one["reason"] == ""
    assert float(one["qps"]) > 1


def test_files_that_are_no_tables_of_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column format"):
        run(tmp_path, f"{LLAMA},H100,1,512,256,4", header="model,hardware,count,prompt_tokens,output_tokens,concurrency")
    with pytest.raises(UserError, match="no rows"):
        run(tmp_path)
    with pytest.raises(UserError, match="absent"):
        predict_points(tmp_path / "absent.csv", tmp_path / "out.csv")
    (tmp_path / "in.csv").write_text(f"{HEADER}\n{LLAMA},bf16,H100,1,512,256,4,\n")
    with pytest.raises(UserError, match="nowhere"):
        predict_points(tmp_path / "in.csv", tmp_path / "nowhere" / "out.csv")


def test_what_cannot_be_written_is_known_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.csv"
    source.write_text(f"{HEADER}\n{LLAMA},bf16,H100,1,512,256,4,\n")
    monkeypatch.setattr("whichbits.prediction.batch.predict_rows", lambda *_: pytest.fail("computed"))
    for out in (tmp_path, tmp_path / "nowhere" / "out.csv"):
        with pytest.raises(UserError, match="out: "):
            predict_points(source, out)


def test_rows_name_the_version_of_the_engine(tmp_path: Path) -> None:
    rows = run(
        tmp_path,
        *(f"{LLAMA},bf16,H100,1,512,256,{load},{name}" for load in (1, 64, "max") for name in ("", "vllm", "vllm==0.12.0")),
        header=HEADER.replace("note", "engine"),
    )
    assert {row["engine_used"] for row in rows if row["engine"] in ("", "vllm")} == {"vllm==0.7.2"}
    assert {row["engine_used"] for row in rows if row["engine"] == "vllm==0.12.0"} == {"vllm==0.12.0"}


def test_a_thousand_rows_take_less_than_a_second(tmp_path: Path) -> None:
    devices, formats = ("A6000", "H100", "L40S", "H900"), ("bf16", "w8a8-fp", "w4a16-int")
    lines = [
        f"{LLAMA},{formats[i % 3]},{devices[i % 4]},{1 + i % 2},{128 + i},256,{'max' if i % 5 == 0 else 1 + i % 32},{i}"
        for i in range(1000)
    ]
    run(tmp_path, lines[0])
    start = time.process_time()
    rows = run(tmp_path, *lines)
    assert time.process_time() - start < 1.0
    assert [row["note"] for row in rows] == [str(i) for i in range(1000)]
    assert all(bool(row["latency_s"]) != bool(row["reason"]) for row in rows)
