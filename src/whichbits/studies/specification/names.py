"""Names in a specification, and how a validator says what is wrong."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def mistake(problem: str, remedy: str) -> PydanticCustomError:
    """A validator's error that names the value itself and says what to do."""
    return PydanticCustomError("mistake", "{problem}", {"problem": problem, "remedy": remedy})


def checked_name(name: str) -> str:
    """A name that can stand in a table, a log and a file's name."""
    if not re.fullmatch(r"\w[\w .:+@()-]{0,99}", name):
        remedy = "use letters, digits, spaces and any of . : + - @ ( ), at most 100 characters, a letter or digit first"
        raise mistake(f"{name!r:.100} cannot be a name", remedy)
    return name


Name = Annotated[str, AfterValidator(checked_name)]
