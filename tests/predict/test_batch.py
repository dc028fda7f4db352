import csv
from pathlib import Path

import pytest

from whichbits.errors import UserError
from whichbits.predict.batch import predict_points
from whichbits.predict.predictor import predict

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


def test_what_cannot_be_read_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3.*many"):
        run(tmp_path, f"{LLAMA},bf16,H100,1,512,256,4,", f"{LLAMA},bf16,H100,1,512,256,many,")
    with pytest.raises(UserError, match="'format' is missing"):
        run(tmp_path, f"{LLAMA},H100,1,512,256,4", header="model,hardware,count,prompt_tokens,output_tokens,concurrency")
    with pytest.raises(UserError, match="no rows"):
        run(tmp_path)
    with pytest.raises(UserError, match="absent"):
        predict_points(tmp_path / "absent.csv", tmp_path / "out.csv")
