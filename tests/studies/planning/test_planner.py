"""What changes a step's key, and what does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.serve import CapacityRun, EarlierRuns, ServeInputs
from whichbits.schema.step import canonical_json
from whichbits.schema.workload import Loads
from whichbits.studies.planning.plan import Plan
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse, presets
from whichbits.studies.steps.study import FurtherRound

pytest.importorskip("torch")

TEXT = """\
version: 1
name: small
model: {model}
candidates:
  - {{format: w8a8-int, run: both}}
  - {{format: w4a16-int, run: served}}
tasks:
  - order
  - {{name: recall, limit: 50}}
similarity: {{limit: 4, max_tokens: 8, windows: 2, window_tokens: 32}}
workloads:
  - {{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}
engine: {{kind: url, urls: {{bf16: "http://a", w8a8-int: "http://b", w4a16-int: "http://c"}}}}
max_length: 256
rounds: 2
"""


def plan(model: Path, *changes: tuple[str, str], data_dir: Path | None = None) -> Plan:
    text = TEXT.format(model=model)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Expansion(*parse(text, "small.yaml"), data_dir=data_dir, ask_servers=False).plan()


def keys(made: Plan) -> dict[tuple[object, ...], str]:
    return {(p.step.kind, *p.step.labels.shown().items()): p.step.key for p in made.steps}


def changed(before: Plan, after: Plan) -> set[tuple[str, str]]:
    """Kind and candidate of the steps whose key is new."""
    old = set(keys(before).values())
    return {(p.step.kind, p.step.labels.candidate) for p in after.steps if p.step.key not in old}


def test_every_step_comes_after_what_it_reads(tiny_llama: Path):
    seen: set[str] = set()
    for planned in plan(tiny_llama).steps:
        assert all(step.key in seen for step in planned.reads.values())
        assert set(planned.step.reads.values()) == {step.key for step in planned.reads.values()}
        seen.add(planned.step.key)
    assert len(seen) == len(plan(tiny_llama).steps)


def test_the_same_study_of_the_same_model_elsewhere_has_the_same_keys(tiny_llama: Path, tmp_path: Path):
    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    for file in tiny_llama.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert keys(plan(tiny_llama)) == keys(plan(elsewhere))


def test_an_alias_has_the_keys_of_its_format(tiny_llama: Path):
    assert keys(plan(tiny_llama, ("format: w8a8-int", "format: int8"), ("format: w4a16-int", "format: W4A16"))) == keys(
        plan(tiny_llama)
    )


def test_a_changed_recipe_recomputes_only_what_depends_on_it(tiny_llama: Path):
    after = plan(tiny_llama, ("{format: w4a16-int, run", "{format: w4a16-int, recipe: {scales: minmax}, run"))
    assert changed(plan(tiny_llama), after) == {
        (kind, "w4a16-int") for kind in ("quantize", "evaluate", "generate", "compare", "distribution", "serve")
    }


def test_without_a_recipe_a_candidate_is_made_as_the_command_line_makes_it(tiny_llama: Path):
    made = plan(tiny_llama, ("{format: w4a16-int, run", "{format: w4a16-int, recipe: {scales: minmax}, run")).steps
    recipes = {p.step.labels.candidate: p.step.inputs.recipe for p in made if p.step.kind == "quantize"}
    assert (recipes["w8a8-int"].rounding, recipes["w8a8-int"].calibration.source) == ("gptq", "self")
    assert recipes["w8a8-int"].fisher_samples > 0
    assert (recipes["w4a16-int"].rounding, recipes["w4a16-int"].scales) == ("rtn", "minmax")


def test_a_new_candidate_leaves_the_others_alone(tiny_llama: Path):
    after = plan(
        tiny_llama,
        ("tasks:", "  - {format: w8a8-fp, run: served}\ntasks:"),
        ("w8a8-int: ", 'w8a8-fp: "http://d", w8a8-int: '),
    )
    assert {candidate for _, candidate in changed(plan(tiny_llama), after)} == {"w8a8-fp"}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (("limit: 50", "limit: 40"), set()),  # how many items is no part of a key
        (("limit: 50", "limit: 421"), set()),
        (("max_tokens: 8,", "max_tokens: 9,"), {"generate", "compare"}),
        (("window_tokens: 32", "window_tokens: 33"), {"distribution"}),
        (("output_tokens: 8", "output_tokens: 9"), {"serve"}),
        (("max_length: 256", "max_length: 300"), {"evaluate", "generate", "compare", "serve"}),
        (("rounds: 2", "rounds: 3"), {"serve"}),
    ],
)
def test_each_input_changes_its_own_kinds(tiny_llama: Path, change: tuple[str, str], kinds: set[str]):
    assert {kind for kind, _ in changed(plan(tiny_llama), plan(tiny_llama, change))} == kinds


def test_further_rounds_measure_what_is_open_and_the_first_rounds_stay(tiny_llama: Path):
    other = "  - {name: other, prompt_tokens: 16, output_tokens: 8, concurrency: [2, 4], rate: 3, "
    other += "slo: {latency: {seconds: 2}}, capacity: {}}\nengine:"
    text = TEXT.format(model=tiny_llama).replace("engine:", other)
    first = Expansion(*parse(text, "small.yaml"), ask_servers=False)
    runs = EarlierRuns(candidate=(CapacityRun(rate=2.0, worst=0.9),), base=(CapacityRun(rate=3.0, worst=None),))
    loads = Loads(in_flight=(1, 4)), Loads(rates=(3.0,), capacity=True)
    further = first.with_rounds(
        [FurtherRound(2, "other", "w8a8-int", loads[0]), FurtherRound(3, "other", "w8a8-int", loads[1], runs)]
    )
    before, after = keys(first.plan()), keys(further.plan())
    assert set(before.values()) < set(after.values())
    added = [one.step for one in further.plan().steps if one.step.kind == "serve" and one.step.labels.repeat >= 2]
    inputs = [step.inputs_as(ServeInputs) for step in added]
    assert [step.labels.candidate for step in added] == ["w8a8-int"] * 2
    assert [(one.workload.synchronous, one.workload.concurrency, one.workload.rates, one.earlier) for one in inputs] == [
        (False, (1, 4), (), None),
        (False, (), (3.0,), runs),
    ]
    assert [one.workload.capacity is not None for one in inputs] == [False, True]


@pytest.mark.parametrize(
    ("status", "runs"), [("native", (True, True)), ("reference", (False, True)), ("refused", (False, True))]
)
def test_auto_both_is_served_and_emulated_where_there_is_a_native_kernel_else_emulated(
    tiny_llama: Path, status: str, runs: tuple[bool, bool]
):
    text = TEXT.format(model=tiny_llama).replace("w8a8-int, run: both", "w8a8-int, run: auto-both")
    statuses = {"w8a8-int": status}
    subject = Expansion(*parse(text, "small.yaml"), ask_servers=False, statuses=statuses).subjects[1]
    assert (subject.served, subject.emulated) == runs


def test_a_generated_task_has_as_many_items_as_are_asked_for(tiny_llama: Path):
    def items(*changes: tuple[str, str]) -> set[tuple[object, int]]:
        """How many items are wanted, and how many are made."""
        steps = plan(tiny_llama, *changes).steps
        return {(p.step.items, p.step.local.task.items) for p in steps if p.step.labels.task == "recall"}

    assert items() == {(50, 420)}
    assert items(("limit: 50", "limit: 420")) == items((", limit: 50", "")) == {(420, 420)}
    assert items(("limit: 50", "limit: 421")) == {(421, 421)}


def test_margins_prices_and_names_change_no_key(tiny_llama: Path):
    after = plan(tiny_llama, ("name: small", "name: other\nmargin: 0.2\nnotes: [x]\nprices: paper-2024-10"))
    assert keys(plan(tiny_llama)) == keys(after)


def test_emulated_candidates_bring_the_base_in_the_same_emulation(tiny_llama: Path):
    made = plan(tiny_llama)
    emulated = {p.step.labels.candidate for p in made.steps if p.step.labels.engine == "emulated" and p.step.kind == "evaluate"}
    assert emulated == {"bf16", "w8a8-int"}


def test_base_stands_for_the_bases_own_name_at_addresses(tiny_llama: Path):
    made, named = plan(tiny_llama), plan(tiny_llama, ('{bf16: "http://a"', '{base: "http://a"'))
    assert [one.step.key for one in named.steps] == [one.step.key for one in made.steps]
    assert named.served["bf16"].url == "http://a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("- order", "- ordre"), r"small.yaml, line 8: tasks.0.name: .*'ordre'.*did you mean 'order'"),
        (("format: w4a16-int", "format: w4a17-int"), r"line 6: candidates.1: .*w4a17-int.*choose one of"),
        (("prompt_tokens: 32", "prompt_tokens: 3200"), r"line 12: workloads.0: .*3208 tokens.*context holds 512"),
        (("max_length: 256", "max_length: 16"), r"line 14: max_length: 16 does not fit"),
        (('w4a16-int: "http://c"', 'other: "http://c"'), r"line 13: engine.urls: no address for w4a16-int"),
        (('w4a16-int: "http://c"', 'w4a16-int: "http://c", other: "http://d"'), r"line 13: engine.urls.other: is no candidate"),
        (("- order", "- {name: order, limit: 700}"), r"line 8: tasks.0.limit: items: order has no 700 different items"),
        (("- order", "- generated"), r"line 9: tasks.1: task 'recall' is there already"),
        (
            ("concurrency: [2]}", "concurrency: [2]}\n  - {name: mine, prompt_tokens: 9, output_tokens: 9}"),
            r"line 13: workloads.1",
        ),
        (("limit: 4,", "limit: 4, encoder: ./nowhere,"), r"line 10: similarity.encoder: there is no folder './nowhere'"),
        (("max_tokens: 8", "max_tokens: 256"), r"similarity.max_tokens: 256 leaves no room"),
        (("window_tokens: 32", "window_tokens: 5120"), r"similarity.window_tokens: 5120 is longer than"),
        (("{format: w4a16-int, run", "{format: w4a16-int, recipe: {scale: 1}, run"), r"line 6: candidates.1: recipe.scale"),
    ],
)
def test_mistakes_are_found_before_anything_runs(tiny_llama: Path, change: tuple[str, str], message: str):
    with pytest.raises(UserError, match=message):
        plan(tiny_llama, change)


def test_a_missing_model_is_named_with_its_line():
    with pytest.raises(UserError, match=r"small.yaml, line 3: model: .*nowhere") as raised:
        plan(Path("./nowhere/at/all"))
    assert str(raised.value).count("line 3") == 1


def with_template_of(name: str, model: Path, folder: Path) -> Path:
    """The model, with openPangu's chat template for its presets."""
    if not name.startswith("openpangu"):
        return model
    copied = folder / "model"
    shutil.copytree(model, copied)
    turns = "{% for m in messages %}[unused9]{{ m['role'] }}：{{ m['content'] }}[unused10]{% endfor %}"
    (copied / "chat_template.jinja").write_text(turns + "{% if add_generation_prompt %}[unused9]助手：{% endif %}")
    return copied


@pytest.mark.parametrize("name", sorted(set(presets()) - {"demo"}))
def test_presets_name_tasks_workloads_and_formats_that_exist(
    name: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from whichbits.quantization.calibration import dataset

    # The hub is not asked which revision of a recipe's data set is the latest.
    monkeypatch.setattr(dataset, "pinned_dataset", lambda calibration: calibration.model_copy(update={"revision": "0" * 40}))
    specification, source = parse(presets()[name], name)
    # The tiny model stands in for the preset's, with a context long enough for its workloads.

    model = with_template_of(name, tiny_llama, tmp_path)
    expansion = Expansion(specification.model_copy(update={"model": str(model)}), source, ask_servers=False)
    object.__setattr__(expansion, "model", replace(expansion.model, max_positions=131072))
    assert expansion.tasks
    assert len(expansion.workloads) == len(specification.workloads)
    assert len(expansion.subjects) == len(specification.candidates) + 1


def stub_data(expansion: Expansion, folder: Path) -> Path:
    """A data directory that has every file which the tasks name; planning reads nothing but their hashes."""
    from whichbits.accuracy.kinds.lm_eval import members_of

    for task, _ in expansion.tasks:
        for member in members_of(task.source) if task.kind == "lm-eval" else ():
            place = folder / member.config["dataset_path"]
            place.mkdir(parents=True, exist_ok=True)
            (place / "test.jsonl").write_text("{}")
    for name in ("dev-v2.0.json", "hotpot_dev_distractor_v1.json", "HumanEvalPlus.jsonl", "sanitized-mbpp.json"):
        (folder / name).write_text("[]")
    return folder


@pytest.mark.parametrize("name", sorted(set(presets()) - {"demo"}))
def test_presets_plan_whole_studies(name: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    from whichbits.quantization.calibration import dataset

    pytest.importorskip("lm_eval")
    monkeypatch.setattr(dataset, "pinned_dataset", lambda calibration: calibration.model_copy(update={"revision": "0" * 40}))
    specification, source = parse(presets()[name], name)
    candidates = [candidate.model_copy(update={"run": "emulated"}) for candidate in specification.candidates]
    model = with_template_of(name, tiny_llama, tmp_path)
    update = {"model": str(model), "candidates": tuple(candidates), "workloads": (), "similarity": None}
    expansion = Expansion(specification.model_copy(update=update), source, ask_servers=False)
    object.__setattr__(expansion, "model", replace(expansion.model, max_positions=131072))
    object.__setattr__(expansion, "data_dir", stub_data(expansion, tmp_path))
    tasks = {task.name for task, _ in expansion.tasks}
    evaluated = [planned.step for planned in expansion.plan().steps if planned.step.kind == "evaluate"]
    assert {step.labels.task for step in evaluated} == tasks
    assert {step.labels.candidate for step in evaluated} == {expansion.base, *(one.name for one in candidates)}
    if name == "openpangu-7b":
        assert tasks == {f"{task}_chat ({mode})" for task in ("humaneval", "mbpp") for mode in ("slow", "auto", "off")}
    if name == "openpangu-1b":
        assert tasks == {"humaneval_chat (default)", "mbpp_chat (default)"}
    if name.startswith("openpangu"):
        assert all("Atlas" in entry for entry in specification.unavailable)
    if name == "paper-llama-3.1-8b":
        assert {"mmlu_llama", "truthfulqa_mc2", "leaderboard_musr", "humaneval_plus_chat", "ruler_128k"} <= tasks
        assert expansion.max_length == 131072


def test_a_task_of_the_harness_by_its_name(tiny_llama: Path):
    pytest.importorskip("lm_eval")
    made = plan(tiny_llama, ("- order", "- {lm_eval: boolq, num_fewshot: 2, limit: 5}"))
    (task,) = {p.step.inputs.task for p in made.steps if p.step.labels.task == "boolq"}
    assert (task.kind, task.source, task.metric, task.num_fewshot) == ("lm-eval", "boolq", "acc", 2)
    assert len(task.definition) == 64
    with pytest.raises(UserError, match=r"line 8.*lm_eval.*no task 'boolqq'.*boolq"):
        plan(tiny_llama, ("- order", "- lm_eval:boolqq"))
    with pytest.raises(UserError, match=r"line 8.*no metric 'f1'.*choose from acc"):
        plan(tiny_llama, ("- order", "- {lm_eval: boolq, metric: f1}"))


def test_sampling_is_part_of_the_key_and_checked_before_a_run(tiny_llama: Path):
    drawn = plan(tiny_llama, ("- order", "- {name: order, sampling: {temperature: 0.6, samples: 4, reducer: pass@2}}"))
    (stated,) = {
        canonical_json(p.step.inputs.model_dump(mode="json")["task"]) for p in drawn.steps if p.step.labels.task == "order"
    }
    found = json.loads(stated)
    assert (found["temperature"], found["samples"], found["reducer"], "top_p" in found) == (0.6, 4, "pass@2", False)
    with pytest.raises(UserError, match=r"line 8.*sampling.*4 times the same"):
        plan(tiny_llama, ("- order", "- {name: order, sampling: {samples: 4}}"))


def test_local_data_of_the_harness_are_part_of_the_key(tiny_llama: Path, tmp_path: Path):
    pytest.importorskip("lm_eval")
    change = ("- order", "- lm_eval:boolq")
    file = tmp_path / "super_glue" / "boolq" / "validation.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")
    before = plan(tiny_llama, change, data_dir=tmp_path)
    file.write_text("{} \n")
    after = plan(tiny_llama, change, data_dir=tmp_path)
    scored = {p.step.key for p in before.steps if p.step.labels.task == "boolq"}
    assert scored and not scored & {p.step.key for p in after.steps}
    others = {p.step.key for p in before.steps if p.step.labels.task == "recall"}
    assert others <= {p.step.key for p in after.steps}
