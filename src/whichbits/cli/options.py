"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from whichbits.studies.specification.judge import JudgeChoice

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of text.")]
Prices = Annotated[
    list[str] | None, typer.Option("--price", metavar="DEVICE=USD_PER_HOUR", help="Your price of one device; repeatable.")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with data sets of public tasks, in place of the hub (docs/accuracy.md).")
]
StoreDir = Annotated[
    Path | None, typer.Option("--store", help="Folder of results; default: studies/ with the study's or the command's name.")
]
StorePlace = Annotated[
    str | None,
    typer.Option("--store", help="Folder of results, or s3://BUCKET/FOLDER; default: studies/ with the study's name."),
]
ServedName = Annotated[
    str | None,
    typer.Option(
        "--served-model-name", help="Name of the model at --url; default: the only one there. The key is OPENAI_API_KEY's."
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="Store of a study, e.g. studies/demo.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure and score anew; old results move to STORE/superseded, checkpoints stay.")
]
Margin = Annotated[
    float | None, typer.Option(help="Judge again at this non-inferiority margin, e.g. 0.02; default: the study's.")
]
Judge = Annotated[
    str | None,
    typer.Option(help="Judge of open answers, as in a specification: '{url: http://HOST:PORT, model: NAME}'."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def judge_of(text: str | None) -> JudgeChoice | None:
    """The judge that `--judge` names. Raises UserError."""
    from whichbits.studies.specification.judge import parse_judge

    return None if text is None else parse_judge(text)
