"""lm-evaluation-harness's results, as its own command line wrote them.

lm_eval-0.4.13.zip holds five runs of a random Llama of 1.6 M weights and of the same rounded to INT4, with `--model hf
--log_samples`: `base` and `candidate`; the candidate once more with `--num_fewshot 2`, with `--apply_chat_template` and with
`--limit 5`. The tasks are one of multiple choice, one of sums with two filters, and a group of two. Only the description of the
machine is left out.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.imported.accuracy import refuse_differences
from whichbits.studies.store.importers.importer import ImportedRun
from whichbits.studies.store.importers.registry import read

FIXTURE = Path(__file__).with_name("lm_eval-0.4.13.zip")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with the five runs."""
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def edited(logs: Path, pattern: str, old: str, new: str) -> None:
    """The candidate's file with a text replaced, wherever it stands."""
    (file,) = (logs / "candidate").rglob(pattern)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def refused(logs: Path, candidate: str = "candidate") -> str:
    with pytest.raises(UserError) as raised:
        refuse_differences(read(logs / "base"), read(logs / candidate))
    return str(raised.value)


@pytest.mark.parametrize("which", ["base", "candidate", "shots", "chat", "limit"])
@pytest.mark.parametrize("metric", [None, "acc"])
def test_scores_are_those_of_the_tools_own_summary(logs: Path, which: str, metric: str | None) -> None:
    (file,) = (logs / which).rglob("results_*.json")
    stated = json.loads(file.read_text(encoding="utf-8"))
    run = read(logs / which) if metric is None else only(read, logs / which, metric)
    for task in run.tasks:
        name, _, filter = task.metric.partition(",")
        mean = sum(item.score for item in task.items) / len(task.items)
        where = stated["groups"] if task.name == "pairs" else stated["results"]
        if task.name == "pairs" and name == "acc_norm":  # the group states its acc alone
            continue
        assert mean == pytest.approx(where[task.name][f"{name},{filter or 'none'}"], abs=1e-12)


def only(read_run: object, path: Path, metric: str) -> ImportedRun:
    """The tasks that have a metric: the task of sums has none of multiple choice."""
    (file,) = path.rglob("results_*.json")
    stated = json.loads(file.read_text(encoding="utf-8"))
    del stated["configs"]["sums"]
    file.write_text(json.dumps(stated), encoding="utf-8")
    return read(path, metric)


def test_tasks_metrics_and_chance(logs: Path) -> None:
    run = read(logs / "base")
    assert (run.tool, run.engine, run.model) == ("lm-eval", "hf", "./base")
    assert [(task.name, task.metric, len(task.items), task.chance) for task in run.tasks] == [
        ("colours", "acc_norm", 16, 0.25),
        ("pairs", "acc_norm", 12, 0.5),
        ("sums", "exact_match,strict-match", 12, 0.0),
    ]
    assert [item.item for item in run.tasks[1].items][5:7] == ["pairs_one/5", "pairs_two/0"]


def test_a_filter_is_named_with_its_metric(logs: Path) -> None:
    (file,) = (logs / "base").rglob("results_*.json")
    stated = json.loads(file.read_text(encoding="utf-8"))
    stated["configs"] = {"sums": stated["configs"]["sums"]}
    file.write_text(json.dumps(stated), encoding="utf-8")
    assert read(logs / "base", "exact_match,flexible-extract").tasks[0].metric == "exact_match,flexible-extract"
    assert read(logs / "base", "exact_match").tasks[0].metric == "exact_match,strict-match"
    with pytest.raises(UserError, match="no metric 'f1'") as raised:
        read(logs / "base", "f1")
    assert raised.value.remedy == "choose from exact_match,strict-match, exact_match,flexible-extract"


def test_runs_that_did_the_same_are_compared(logs: Path) -> None:
    refuse_differences(read(logs / "base"), read(logs / "candidate"))


@pytest.mark.parametrize(
    ("candidate", "field", "values", "remedy"),
    [
        ("shots", "sums: n-shot", ("1 in", "2 in"), "--num_fewshot"),
        ("chat", "chat_template_sha", ("null in", "872be49d"), "--apply_chat_template"),
        ("limit", "limit", ("null in", "5.0 in"), "--limit"),
    ],
)
def test_other_runs_of_the_tool_are_refused(
    logs: Path, candidate: str, field: str, values: tuple[str, str], remedy: str
) -> None:
    said = refused(logs, candidate)
    assert said.startswith(f"from: {field} differs: ")
    assert all(value in said for value in values)
    assert remedy in said.partition(" → ")[2]


@pytest.mark.parametrize(
    ("pattern", "old", "new", "said"),
    [
        ("results_*", '"lm_eval_version": "0.4.13"', '"lm_eval_version": "0.4.9"', "from: lm_eval_version differs: 0.4.13 in"),
        ("results_*", '"sums": 2.0', '"sums": 3.0', "from: sums: version differs: 2.0 in"),
        ("results_*", '"model": "hf"', '"model": "vllm"', "from: model (engine) differs: hf in"),
        ("results_*", '"fewshot_seed": 1234', '"fewshot_seed": 4', "from: fewshot_seed differs: 1234 in"),
        ("results_*", '"max_length": 512', '"max_length": 256', "from: max_length differs: 512 in"),
        ("results_*", '"torch.bfloat16"', '"torch.float32"', "from: dtype differs: bfloat16 in"),
        ("results_*", '"dtype": "bfloat16"', '"add_bos_token": true', "from: model_args.add_bos_token differs: null in"),
        ("results_*", '"max_gen_toks": 8', '"max_gen_toks": 9', "from: sums: generation_kwargs differs: "),
        ("results_*", r"^ (\\d+)$", r"^(\\d+)$", "from: sums: filter_list differs: "),
        ("samples_sums*", "49 + 43 = 92", "49 + 43 = 93", "from: sums: prompt of item 0 differs: "),
        ("samples_sums*", '"target": "57"', '"target": "58"', "from: sums: target of item 0 differs: 57 in"),
        ("samples_sums*", '"filter": "strict-match"', '"filter": "other"', "from: sums: metrics and filters differs: "),
        ("samples_colours*", " list green,", "  list green,", "from: colours: prompt of item 0 differs: "),
        ("samples_pairs_two*", '"doc_id": 5', '"doc_id": 7', "from: pairs: 2 items are in one run alone, first pairs_two/5 in"),
    ],
)
def test_whatever_differs_is_named(logs: Path, pattern: str, old: str, new: str, said: str) -> None:
    edited(logs, pattern, old, new)
    assert refused(logs).startswith(said)


def test_other_weights_under_the_same_settings_are_no_difference(logs: Path) -> None:
    edited(logs, "results_*", "./candidate", "somebody/another")
    refuse_differences(read(logs / "base"), read(logs / "candidate"))


@pytest.mark.parametrize(("which", "sums", "pairs"), [("candidate", 12, 6), ("limit", 5, 5)])
def test_a_part_of_the_samples_is_refused(logs: Path, which: str, sums: int, pairs: int) -> None:
    for task, there in (("sums", sums), ("pairs_two", pairs)):
        (file,) = (logs / which).rglob(f"samples_{task}_*")
        whole = file.read_bytes()
        lines = whole.splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["doc_id"] < there - 1]
        for damage, left in ((kept, there - 1), ([*lines, *lines], 2 * there)):
            file.write_bytes(b"".join(damage))
            with pytest.raises(UserError, match=f"tells of {there} samples of {task}, and {left} are there"):
                read(logs / which)
        file.write_bytes(whole)
    read(logs / which)


def test_samples_of_another_run_are_refused(logs: Path) -> None:
    # As many, under the name of this run: their mean is not that of its results.
    edited(logs, "results_*", '"acc_norm,none": 0.0625', '"acc_norm,none": 0.125')
    with pytest.raises(UserError, match=r"tells of a score of 0\.125 of colours, and its samples have 0\.0625"):
        read(logs / "candidate")
    # A score that is no mean of items is not compared.
    edited(logs, "results_*", '"aggregation": "mean"', '"aggregation": "f1"')
    read(logs / "candidate")


def test_what_a_file_does_not_state_is_said(logs: Path) -> None:
    assert read(logs / "base").unknown == ()
    (file,) = (logs / "base").rglob("results_*.json")
    stated = json.loads(file.read_text(encoding="utf-8"))
    del stated["versions"], stated["n-shot"]
    del stated["configs"]["sums"]["num_fewshot"]
    file.write_text(json.dumps(stated), encoding="utf-8")
    assert read(logs / "base").unknown == ("version of colours, pairs_one, pairs_two, sums", "shots of sums")


def test_what_is_missing(logs: Path) -> None:
    next((logs / "candidate").rglob("samples_sums*")).unlink()
    with pytest.raises(UserError, match="there is no samples_sums_") as raised:
        read(logs / "candidate")
    assert "--log_samples" in raised.value.remedy


def test_two_invocations_in_one_folder(logs: Path) -> None:
    with pytest.raises(UserError, match="holds 5 results"):
        read(logs)
    (file,) = (logs / "base").rglob("results_*.json")
    assert read(file).path == file


def test_scores_that_are_none_are_refused(logs: Path) -> None:
    edited(logs, "samples_colours*", '"acc_norm": 0.0', '"acc_norm": 3.5')
    with pytest.raises(UserError, match=r"acc_norm of colours gives 3\.5 on item 0"):
        read(logs / "candidate")


def test_rows_of_older_versions_are_read_alike(logs: Path) -> None:
    before = read(logs / "base")
    (file,) = (logs / "base").rglob("samples_colours*")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["metrics"], row["filter"]
        row["arguments"] = [list(request.values()) for request in row["arguments"].values()]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (results,) = (logs / "base").rglob("results_*.json")
    stated = json.loads(results.read_text(encoding="utf-8"))
    stated["config"]["model_args"] = "pretrained=./base,dtype=bfloat16"
    del stated["model_name"]
    results.write_text(json.dumps(stated), encoding="utf-8")
    after = read(logs / "base")
    assert after.model == before.model
    assert [item.score for item in after.tasks[0].items] == [item.score for item in before.tasks[0].items]
    assert after.tasks[0].chance == before.tasks[0].chance


def test_truthfulqa_is_guessed_as_often_as_answers_are_true(logs: Path) -> None:
    (file,) = (logs / "base").rglob("samples_colours*")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["doc"]["mc2_targets"] = {"labels": [1, 1, 0, 0, 0]}
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read(logs / "base").tasks[0].chance == pytest.approx(0.4)


@pytest.mark.parametrize(
    "damage", [{"configs": None}, {"config": "text"}, {"n-shot": None}, {"versions": "1"}, {"group_subtasks": {"colours": 3}}]
)
def test_tables_that_are_none_are_told(logs: Path, damage: dict[str, object]) -> None:
    (file,) = (logs / "candidate").rglob("results_*.json")
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | damage), encoding="utf-8")
    with pytest.raises(UserError, match="is not as lm-eval writes it"):
        read(logs / "candidate")


def test_groups_that_hold_one_another_end(logs: Path) -> None:
    (file,) = (logs / "candidate").rglob("results_*.json")
    circle = {"group_subtasks": {"one": ["two", "colours"], "two": ["one"]}}
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | circle), encoding="utf-8")
    assert {"colours", "sums"} & {task.name for task in read(logs / "candidate").tasks} == {"sums"}
