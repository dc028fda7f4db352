"""The command line: quick where it can be, one line and exit code 2 for a user's mistake."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import whichbits

PROGRAM = [sys.executable, "-c", "from whichbits.cli.app import main; main()"]


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


LIGHT = [["--help"], ["formats"], ["hardware"], ["formats", "--json"], ["published"], ["published", "2"]]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(words: list[str]):
    code = (
        "import sys; from whichbits.cli.app import main\n"
        f"sys.argv = ['whichbits', *{words!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'guidellm', 'scipy', 'pandas', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


ASKED = ["predict", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--hardware", "A100", "--workload", "rag"]


@pytest.mark.parametrize("words", [["formats"], ["hardware"], ASKED], ids=lambda words: words[0])
def test_what_asks_for_no_study_loads_none(words: list[str]):
    code = (
        "import sys, whichbits.cli.app\n"
        f"sys.argv = ['whichbits', *{words!r}]\n"
        "try: whichbits.cli.app.main()\nexcept SystemExit as end: assert not end.code\n"
        "print(sorted(name for name in sys.modules if name.startswith(('whichbits.studies', 'whichbits.verdict'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["--version"], ["-h"], ["study", "-h"]], ids=" ".join)
def test_as_a_module_it_is_the_same_program(words: list[str], tmp_path: Path):
    for name in ("html.py", "typer.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the working directory was executed')")
    module = [sys.executable, "-m", "whichbits", *words]
    done = subprocess.run(module, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
    if words == ["--version"]:
        assert done.stdout == run(*words).stdout == f"whichbits {whichbits.__version__}\n"
    else:
        assert done.stdout.splitlines()[1:] == run(*words).stdout.splitlines()[1:]


def test_help_takes_at_most_twice_as_long_as_typer_itself():
    def best(code: str) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
            times.append(time.perf_counter() - began)
        return min(times)

    own = best("import sys; sys.argv = ['whichbits', '--help']; from whichbits.cli.app import main; main()")
    plain = best("import sys, typer; sys.argv = ['x', '--help']; typer.run(lambda: None)")
    assert own < 2 * plain + 0.1


def test_every_command_is_a_function_with_the_same_parameters():
    import inspect

    import whichbits
    from whichbits.cli import app

    def parameters(function: object) -> dict[str, object]:
        return {name: each.default for name, each in inspect.signature(function).parameters.items()}  # type: ignore[arg-type]

    listed = {"cost": "list_costs", "formats": "list_formats", "hardware": "list_hardware"}  # packages have these names
    for command in app.app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__
        ours = {key: default for key, default in parameters(command.callback).items() if key not in ("as_json", "dry_run")}
        if name == "predict":  # three questions, each a function of its own
            functions = (whichbits.predict, whichbits.rank_hardware, whichbits.predict_points)
            assert ours.keys() - {"all_hardware"} <= {key for function in functions for key in parameters(function)}
            continue
        if name == "evaluate":  # of a model, or of results of another tool
            functions = (whichbits.evaluate, whichbits.evaluate_from)
            assert ours.keys() - {"from_"} <= {key for function in functions for key in parameters(function)}
            continue
        if name == "bench":  # of a model, or of results of another tool
            functions = (whichbits.bench, whichbits.bench_from)
            assert ours.keys() - {"from_"} <= {key for function in functions for key in parameters(function)}
            continue
        if name == "published":
            assert ours.keys() == {*parameters(whichbits.list_published), *parameters(whichbits.compare_published)}
            continue
        if name == "plan":  # to be read, or to be run by a batch system
            assert parameters(whichbits.plan_jobs).items() <= ours.items()
            del ours["jobs"]
        if name == "doctor":  # of this machine and a server, or of a cluster's
            both = parameters(whichbits.doctor).keys() | parameters(whichbits.doctor_cluster).keys()
            assert ours.keys() - {"cluster"} == both
            continue
        theirs = parameters(getattr(whichbits, listed.get(name, name)))
        assert ours.items() <= theirs.items(), name
    assert parameters(whichbits.plan).items() <= parameters(whichbits.study).items()
    shared = parameters(whichbits.estimate_quantization)
    assert shared.keys() <= parameters(whichbits.quantize).keys()


def test_every_command_takes_json():
    from whichbits.cli import app

    for command in app.app.registered_commands:
        assert "as_json" in command.callback.__annotations__  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["study", "paper-llama-3.1-8b", "--dry-run"], "measure"),
        (["quantize", "org/model", "--format", "w8a8-int", "--out", "out"], "quantize"),
    ],
)
def test_a_part_that_is_not_installed_is_one_line_with_what_to_install(tmp_path: Path, arguments: list[str], extra: str):
    code = (
        "import sys; sys.modules['safetensors'] = None; sys.modules['huggingface_hub'] = None\n"
        f"from whichbits.cli.app import main; sys.argv = ['whichbits', *{arguments}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "huggingface_hub is not installed" in done.stderr
    assert f"pip install 'whichbits[{extra}]'" in done.stderr


def test_a_path_that_cannot_be_used_is_one_line(tmp_path: Path):
    (tmp_path / "in.csv").mkdir()
    done = run("predict", "--points", "in.csv", "--out", "out.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "in.csv" in done.stderr


def test_the_report_names_the_command_that_runs_the_study_again():
    from whichbits.api.study import _command
    from whichbits.studies.specification.judge import JudgeChoice, parse_judge

    command = _command("my study.yaml", Path("here"), ["h100=2", "cpu=0.1"], None, None)
    assert command == "whichbits study 'my study.yaml' --store here --price h100=2 --price cpu=0.1"
    judge = JudgeChoice(url="http://judge:1", model="m", against_base=True, baseline=Path("my items.parquet"))
    words = shlex.split(_command("spec.yaml", None, None, None, judge))
    assert words[:-1] == ["whichbits", "study", "spec.yaml", "--judge"]
    assert parse_judge(words[-1]) == judge


def test_formats_as_json_are_the_catalogue():
    from whichbits.formats.catalogue import load

    done = run("formats", "--json")
    assert [row["name"] for row in json.loads(done.stdout)] == list(load())


QUANTIZE = ["quantize", "smollm2-135m-instruct", "--format", "w8a8-int", "--out", "out"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["study", "demmo"], ["'demmo'", "did you mean 'demo'"]),
        (["study", "nowhere.yaml"], ["nowhere.yaml does not exist"]),
        (["recommend", "nowhere"], ["nowhere holds no study", "run the study"]),
        (["report", "nowhere"], ["nowhere holds no study"]),
        (["study", "demo", "--dry-run", "--price", "h100=0"], ["price", "h100", "0"]),
        (["study", "demo", "--dry-run", "--price", "h100"], ["not DEVICE=USD_PER_HOUR"]),
        (["study", "demo", "--dry-run", "--executor", "nope"], ["no executor 'nope'", "local, ray"]),
        (["study", "demo", "--dry-run", "--address", "first:6379"], ["has no address 'first:6379'"]),
        (["evaluate", "m/m", "--task", "recall", "--limit", "0"], ["tasks.0.limit", "value 0"]),
        (["evaluate", "m/m", "--task", "recall", "--seed", "-1"], ["seed", "value -1"]),
        (["bench", "m/m", "--workload", "demo-chat", "--rounds", "0"], ["rounds", "value 0"]),
        (["bench", "m/m", "--workload", "demo-chat", "--url", "nonsense"], ["'nonsense'", "http://HOST:PORT"]),
        (["bench", "m/m", "--workload", "²/3"], ["'²/3'"]),
        (["compare", "m/m", "w8a8-int", "--max-tokens", "0"], ["similarity.max_tokens", "value 0"]),
        (["compare", "smollm2-135m-instruct", "w8a8-fp+kv-int4"], ["'w8a8-fp+kv-int4'", "add +kv-fp8"]),
        (["quantize", "./nowhere", "--format", "w8a8-int", "--out", "out"], ["nowhere"]),
        (["quantize", "smollm2-135m-instruct", "--format", "w9", "--out", "out"], ["'w9'", "choose one of"]),
        ([*QUANTIZE, "--recipe", "paper-w8a8int"], ["'paper-w8a8int'", "did you mean paper-w8a8-int"]),
        ([*QUANTIZE, "--effort", "slow"], ["'slow'", "choose one of fast"]),
        ([*QUANTIZE, "--samples", "0"], ["calibration.samples", "value 0"]),
        ([*QUANTIZE, "--seed", "-1"], ["recipe.seed", "value -1"]),
        ([*QUANTIZE, "--calibration", "texts.txt"], ["texts.txt does not exist"]),
        ([*QUANTIZE, "--budget", "4.5"], ["'4.5'", "4.5bits"]),
        ([*QUANTIZE, "--export", "mindie"], ["'mindie'", "choose ascend"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_a_remedy_and_exit_code_2(words: list[str], parts: list[str], tmp_path: Path):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert " → " in done.stderr
    for part in parts:
        assert part in done.stderr
