"""`whichbits calibrate`: the predictor's coefficients, fitted to the user's own measurements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.labels import IMPORTED
from whichbits.schema.serve import ServeSummary
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.prediction.model.coefficients import Coefficients
    from whichbits.studies.store.manifest import StudyManifest


def calibrate(results: Path, out: Path) -> Coefficients:
    """Move the predictor's coefficients by serving results (a CSV, or a study's store), and write them to `out`.

    Raises UserError, also for a store whose deployment claims other hardware than the store says the study was measured on.
    """
    from whichbits.prediction.output import check_writable
    from whichbits.prediction.training.calibrate import calibrate as fit

    check_writable("out", Path(out))
    moved = fit(results if Path(results).is_file() else _serving_results(Path(results)))
    moved.save(out)
    return moved


def _serving_results(folder: Path) -> list[dict[str, str]]:
    """Valid load levels of a study's store as the predictor's rows."""
    from whichbits.studies.store.manifest import read

    manifest = read(folder)
    rows: list[dict[str, str]] = []
    for record in manifest.records(Store(folder)):
        # What another tool measured says too little.
        if record.kind != "serve" or record.state != "done" or record.labels.engine == IMPORTED:
            continue
        deployment = manifest.deployments[str(record.labels.deployment)]
        workload = manifest.workloads[str(record.labels.workload)]
        valid = [level for level in record.found(ServeSummary).load_levels if level.valid and level.concurrency is not None]
        if not valid or workload.shared:  # the predictor computes every prompt whole
            continue
        common = {
            "model": manifest.model,
            "format": manifest.formats[record.labels.candidate],
            "hardware": _device(deployment.hardware, deployment.count, manifest),
            "count": str(deployment.count),
            "prompt_tokens": str(workload.mean_prompt_tokens),
            "output_tokens": str(workload.mean_output_tokens),
            "engine": _engine(manifest),
        }
        for level in valid:
            metrics = level.metrics
            found = {"latency_s": metrics.latency_s, "ttft_s": metrics.ttft_s, "tpot_s": metrics.tpot_s}
            means = {name: _cell(one.mean if one else None) for name, one in found.items()}
            speeds = {**means, "qps": _cell(metrics.requests_per_second)}
            rows.append({**common, "concurrency": str(level.concurrency), **speeds})
    if not rows:
        raise UserError(f"store: {folder} holds no valid measurement of a speed", remedy="give its study workloads, and run it")
    return rows


def _cell(value: float | None) -> str:
    """A number in a table, or nothing where there is none."""
    return "" if value is None else str(value)


def _engine(manifest: StudyManifest) -> str:
    """The engine that the study started, with its version. Raises UserError where it started none."""
    version = next((engine.version for engine in manifest.engines if engine.name == "vLLM"), None)
    if version is None:
        raise UserError(
            "store: its speeds were measured at an address, and what the server ran on is not known here",
            remedy="write the measurements into a CSV that names hardware and engine, and calibrate with that",
        )
    return f"vllm=={version}" if str(version)[:1].isdigit() else "vllm"


def _device(claimed: str, count: int, manifest: StudyManifest) -> str:
    """The predictor's name of the hardware that a study's deployment claims, where the store says that it was there.

    Raises UserError for a claim that is not what measured: its speeds would be taken for those of the device that it names.
    """
    from whichbits.hardware.catalogue import find, normalized
    from whichbits.hardware.this_machine import describe

    present = dict(_accelerators(manifest.hardware))
    if claimed == "this-machine" and len(present) == 1:
        claimed = next(iter(present))
    if normalized(claimed) in ("cpu", "thismachine") and not present:
        if describe().kind == manifest.hardware and not describe().gpus:
            return "cpu"
        raise UserError(
            f"deployment.hardware: the study was measured on {manifest.hardware}, which is not the processor here",
            remedy="calibrate on that machine",
        )
    device = find(claimed) if claimed != "this-machine" else None
    for name, number in present.items():
        try:
            found = find(name).id
        except UserError:  # a device that the catalogue does not know is none that a study can claim
            continue
        if device is not None and found == device.id and number >= count:
            return device.name
    raise UserError(
        f"deployment.hardware: claims {count} × {claimed}, and the study was measured on {manifest.hardware}",
        remedy="set hardware (an id of `whichbits hardware`) and count to what measured it, and run the study again",
    )


def _accelerators(kind: str) -> list[tuple[str, int]]:
    """Names and numbers of the accelerators of a machine, as the store has them: `2 × NVIDIA L4 + 1 × NVIDIA A10`."""
    parts = [re.fullmatch(r"([0-9]+) × (.+)", part) for part in kind.split(" + ")]
    return [(part[2], int(part[1])) for part in parts if part]
