"""What may be called otherwise in another checkout, so that one script records both, and two records can be compared."""

OPTIONS: list[tuple[str, str]] = []
"""Options of the command line: of a pair the second is used where the command's help has it."""
FIELDS: list[tuple[str, str]] = []
"""Text of the specifications: the second is tried first."""
PREDICTORS = ["whichbits.prediction.predictor", "whichbits.predict.predictor"]
"""Modules whose `predict(model, format, hardware, count, ...)` answers in full precision; the first that is there is asked."""
PREDICTED = ["latency_s", "ttft_s", "tpot_s", "qps", "qps_steady", "concurrency", "queries_per_dollar", "intervals"]
"""Attributes of its answer."""
KIND = ["kind", "step"]
"""Where a result says what kind of step it is of."""
COLUMNS: dict[str, str] = {"nearest_output_error": "rtn_output_error"}
"""Columns of items.parquet, and the names that they are recorded under."""
IDENTITY = [
    "candidate", "format", "task", "suite", "text", "prompts", "measure", "workload", "deployment", "engine", "metric", "name",
]  # fmt: skip
"""Fields that tell results, and rows of a verdict, apart."""
VARYING = ["seconds", "started", "finished", "date", "cpus", "schema_version", "round"]
"""Fields of a verdict whose numbers say when and how, not what."""
RENAMED: list[tuple[str, str]] = []
"""Regular expressions in keys of the first record, and what stands in the second for them, as for `re.sub`."""
