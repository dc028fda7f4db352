"""Every preset run whole, with few items, on a small random model of the real class: checkpoints, servers, scores, report.

    python benchmarks/presets.py --data-dir DATA [--preset NAME ...] [--items 2] [--store FOLDER] [--judge '{url: URL, ...}']

What differs from the preset is what a machine of two cores cannot do: the model (2 layers of random weights, in the preset's
architecture and with its switch of thinking), the numbers of items, samples, rounds and tokens, the calibration data, and the
similarity encoders. Tasks whose data are not in DATA are left out. Of a group without all its data two members are asked that
have theirs, and of RULER the tasks without questions. All that is said. Scores are those of guessing. Prints a line a preset,
and ends with 1 where a step has failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import whichbits
from whichbits.accuracy.kinds.lm_eval import members_of
from whichbits.accuracy.kinds.lm_eval_index import Member
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.local_data import local_dataset
from whichbits.accuracy.registry import expand
from whichbits.accuracy.task import Task
from whichbits.cli.options import judge_of
from whichbits.core.errors import UserError
from whichbits.models.resolve import resolve
from whichbits.quantization.recipe.presets import recipe_fields
from whichbits.schema.workload import Workload, longest
from whichbits.serving.workload import parse_workload
from whichbits.studies.specification.engine import Engine
from whichbits.studies.specification.schema import Deployment, Similarity, Specification, TaskChoice, parse, presets

LONGEST = 16384
"""Tokens of the longest request; RULER beyond it is left out."""

REPLY = 64
"""Tokens of the longest reply in a thinking mode."""

SAMPLES = 3
"""Answers an item, of tasks that draw several."""

PROMPT, OUTPUT = 512, 16
"""Tokens of the requests whose speed is measured."""

PANGU_MODELLING = '''\
"""openPangu's dense architecture: Llama with biases in all projections of attention."""

from transformers import LlamaConfig, LlamaForCausalLM


class PanguEmbeddedConfig(LlamaConfig):
    model_type = "PanguEmbedded"

    def __init__(self, bias=True, **more):
        super().__init__(**{**more, "attention_bias": bias})
        self.bias = bias


class PanguEmbeddedForCausalLM(LlamaForCausalLM):
    config_class = PanguEmbeddedConfig
'''

PANGU_TEMPLATE = (
    "{% for m in messages %}[unused9]{{ m['role'] }}：{{ m['content'] }}[unused10]{% endfor %}"
    "{% if add_generation_prompt %}[unused9]助手：{% endif %}"
)


def random_model(folder: Path, *, pangu: bool) -> Path:
    """A random Llama 3.1, or openPangu, of two layers, with the tokenizer of the embedded model."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").exists():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct").path)
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_theta": 500000.0,
    }  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=131072, bos_token_id=1, eos_token_id=2, attention_bias=pangu,
        rope_parameters={"rope_type": "default", "rope_theta": 1.6e7} if pangu else scaling,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    if pangu:
        tokenizer.chat_template = PANGU_TEMPLATE
        (folder / "modeling_openpangu_dense.py").write_text(PANGU_MODELLING, encoding="utf-8")
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classes = {"AutoConfig": "PanguEmbeddedConfig", "AutoModelForCausalLM": "PanguEmbeddedForCausalLM"}
        written |= {
            "model_type": "PanguEmbedded",
            "architectures": ["PanguEmbeddedForCausalLM"],
            "bias": True,
            "auto_map": {name: f"modeling_openpangu_dense.{one}" for name, one in classes.items()},
        }
        (folder / "config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    tokenizer.save_pretrained(folder)
    return folder


def has_data(member: Member, data_dir: Path) -> bool:
    """Whether the data of a task of lm-evaluation-harness are there."""
    try:
        local_dataset(data_dir, member.config["dataset_path"], member.config.get("dataset_name"))
    except UserError:
        return False
    return True


def asked(task: Task, choice: TaskChoice, items: int, data_dir: Path) -> Iterator[TaskChoice]:
    """Entries of a specification for a task: itself, some of its members, or nothing, by what data there are."""
    sampling = None if choice.sampling is None else choice.sampling.model_copy(update={"samples": SAMPLES})
    few = TaskChoice(name=task.name, limit=items, sampling=sampling, skip_without_judge=choice.skip_without_judge)
    if task.kind == "ruler" and int(task.source.partition("@")[2]) > LONGEST:
        print(f"  left out, longer than {LONGEST:,} tokens: {task.name}")
    elif task.kind == "lm-eval":
        every = members_of(task.source)
        there = [member for member in every if has_data(member, data_dir)]
        if len(there) == len(every):
            yield few
            return
        print(f"  {task.name}: data of {len(there)} of its {len(every)} tasks are there")
        for member in there[:2]:
            yield TaskChoice(
                lm_eval=member.name, name=member.name, limit=items, metric=task.metric, filter=task.filter,
                num_fewshot=task.num_fewshot, chat_template=task.chat_template,
            )  # fmt: skip
    else:
        try:
            task_kind(task.kind).data_files(task, data_dir)
        except UserError as error:
            print(f"  {task.name}: {error.message}")
            if task.kind == "ruler":
                yield few.model_copy(update={"name": task.name.replace("ruler_", "ruler_synthetic_")})
        else:
            yield few


def small(name: str, model: Path, items: int, data_dir: Path) -> Specification:
    """The preset's specification, made small."""
    whole, _ = parse(presets()[name], name)
    named = [(task, choice) for choice in whole.tasks for task in expand([choice.name])]
    return whole.model_copy(
        update={
            "model": str(model),
            "candidates": tuple(one.model_copy(update={"recipe": _recipe(one.recipe)}) for one in whole.candidates),
            "tasks": tuple(entry for task, choice in named for entry in asked(task, choice, items, data_dir)),
            "modes": tuple(mode.model_copy(update={"max_tokens": REPLY}) for mode in whole.modes),
            "similarity": whole.similarity and Similarity(max_tokens=32, limit=4, windows=2),
            "workloads": tuple(_few(parse_workload(str(entry["name"]))) for entry in whole.workloads),
            "rounds": 1,
            "deployment": Deployment(),
            "engine": Engine(concurrency=8),
            "max_length": LONGEST,
        }
    )


def _few(workload: Workload) -> Mapping[str, Any]:
    """The workload with short requests, one at a time and two, as a specification has it."""
    short = {"prompt_tokens": min(longest(workload.prompt_tokens), PROMPT), "output_tokens": OUTPUT}
    made = workload.model_copy(update={**short, "concurrency": (2,), "requests_per_stream": 5})
    return made.model_dump(mode="json", exclude_defaults=True)


def _recipe(recipe: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """The recipe, calibrated on few random tokens in place of its data set."""
    calibrated = "calibration" in recipe_fields(recipe)
    return {"like": recipe} | ({"calibration": {"source": "random", "samples": 4, "length": 256}} if calibrated else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the presets and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="public data sets, as docs/accuracy.md describes")
    parser.add_argument("--preset", nargs="+", default=sorted(set(presets()) - {"demo"}))
    parser.add_argument("--items", type=int, default=2, help="of each task, or of each task of a group")
    parser.add_argument("--store", type=Path, default=Path("studies/presets"), help="folder of models and stores")
    parser.add_argument("--judge", help="of Arena-Hard, as whichbits study has it; without one it is left out")
    given = parser.parse_args(arguments)
    failed, judge = False, judge_of(given.judge)
    for name in given.preset:
        print(name, flush=True)
        pangu = name.startswith("openpangu")
        model = random_model(given.store / ("openpangu" if pangu else "llama-3.1"), pangu=pangu)
        chosen = small(name, model.resolve(), given.items, given.data_dir)
        began = time.monotonic()
        outcome = whichbits.study(chosen, store=given.store / name, data_dir=given.data_dir.resolve(), judge=judge)
        failed |= outcome.failed > 0
        found = outcome.verdict
        print(
            f"{name}: {len(chosen.tasks)} tasks, {len(found.formats)} formats, {len(found.speed)} speeds, "
            f"{outcome.failed} steps failed, {time.monotonic() - began:.0f} s: {outcome.report}",
            flush=True,
        )
        for failure in found.failures:
            print(f"  {failure}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
