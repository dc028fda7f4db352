"""A hook of MkDocs: behind the text of docs/commands.md stands every command with its options, from the command line itself."""

import subprocess
import sys
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """The page's text as it is rendered."""
    if page.file.src_uri != "commands.md":
        return markdown
    command = [sys.executable, "-m", "typer", "whichbits.cli.app", "utils", "docs", "--name", "whichbits"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return f"{markdown}\n{made[made.index('**Usage**') :]}"
