"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of text.")]
Prices = Annotated[
    list[str] | None, typer.Option("--price", metavar="DEVICE=USD_PER_HOUR", help="Your price of one device; repeatable.")
]
DataDir = Annotated[Path | None, typer.Option(help="Folder with data sets of public tasks, in place of the hub.")]
StoreDir = Annotated[Path | None, typer.Option("--store", help="Folder of results; default: studies/NAME.")]
StorePlace = Annotated[
    str | None, typer.Option("--store", help="Folder of results, or s3://BUCKET/FOLDER; default: studies/NAME.")
]
ServedName = Annotated[
    str | None, typer.Option("--served-model-name", help="Name of the model at --url; default: the only one there.")
]
StoreArgument = Annotated[str, typer.Argument(help="Store of a study, e.g. studies/demo.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what the store holds already; it is kept aside there.")]
Margin = Annotated[float | None, typer.Option(help="Judge again at this margin, e.g. 0.02.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
