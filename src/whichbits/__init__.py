"""whichbits: which number format to deploy a language model in, settled by experiment.

The public functions are here, one for each command: `whichbits.study("demo")`, `whichbits.quantize(...)`, ...
They are imported when they are first asked for, so that reading a verdict needs neither torch nor pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichbits.api.bench import bench
    from whichbits.api.bench_from import bench_from
    from whichbits.api.calibrate import calibrate
    from whichbits.api.catalogues import list_formats, list_hardware
    from whichbits.api.compare import compare
    from whichbits.api.cost import list_costs
    from whichbits.api.doctor import doctor
    from whichbits.api.doctor_cluster import doctor_cluster
    from whichbits.api.evaluate import evaluate
    from whichbits.api.evaluate_from import evaluate_from
    from whichbits.api.predict import predict, predict_points, rank_hardware
    from whichbits.api.prefill_decode import prefill_decode
    from whichbits.api.published import compare_published, list_published, published_tables
    from whichbits.api.quantize import estimate_quantization, quantize
    from whichbits.api.recommend import recommend, report
    from whichbits.api.run_step import run_step
    from whichbits.api.study import plan, plan_jobs, study
    from whichbits.api.thinking import thinking

__version__ = "0.1.0"

__all__ = [
    "bench",
    "bench_from",
    "calibrate",
    "compare",
    "compare_published",
    "doctor",
    "doctor_cluster",
    "estimate_quantization",
    "evaluate",
    "evaluate_from",
    "list_costs",
    "list_formats",
    "list_hardware",
    "list_published",
    "plan",
    "plan_jobs",
    "predict",
    "predict_points",
    "prefill_decode",
    "published_tables",
    "quantize",
    "rank_hardware",
    "recommend",
    "report",
    "run_step",
    "study",
    "thinking",
]

_MODULES = {
    "bench": "api.bench",
    "bench_from": "api.bench_from",
    "calibrate": "api.calibrate",
    "compare": "api.compare",
    "compare_published": "api.published",
    "doctor": "api.doctor",
    "doctor_cluster": "api.doctor_cluster",
    "estimate_quantization": "api.quantize",
    "evaluate": "api.evaluate",
    "evaluate_from": "api.evaluate_from",
    "list_costs": "api.cost",
    "list_formats": "api.catalogues",
    "list_hardware": "api.catalogues",
    "list_published": "api.published",
    "plan": "api.study",
    "plan_jobs": "api.study",
    "predict": "api.predict",
    "predict_points": "api.predict",
    "prefill_decode": "api.prefill_decode",
    "published_tables": "api.published",
    "quantize": "api.quantize",
    "rank_hardware": "api.predict",
    "recommend": "api.recommend",
    "report": "api.recommend",
    "run_step": "api.run_step",
    "study": "api.study",
    "thinking": "api.thinking",
}


def __getattr__(name: str) -> Any:
    """A public function, from the module that has it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
