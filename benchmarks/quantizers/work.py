"""The benchmark's folder: what is kept of each run, so that a run or a judgement that is there is not done again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import Run


@dataclass(frozen=True)
class Work:
    """A folder with `tokens.jsonl`, what those are, and for each run its measurement, its checkpoints and their judgements."""

    folder: Path

    @property
    def tokens(self) -> Path:
        """The calibration tokens of all runs."""
        return self.folder / "tokens.jsonl"

    @property
    def calibration(self) -> str:
        """What the calibration tokens are, in words."""
        return str(json.loads((self.folder / "calibration.json").read_text())["tokens"])

    def put_calibration(self, words: str) -> None:
        """Keep what the calibration tokens are."""
        _write(self.folder / "calibration.json", {"tokens": words})

    def of(self, run: Run) -> Path:
        """Folder of a run."""
        return self.folder / "runs" / run.name

    def checkpoint(self, run: Run, format: str) -> Path:
        """Folder of a checkpoint that a run makes."""
        return self.of(run) / "checkpoints" / format

    def measurement(self, run: Run) -> dict[str, Any] | None:
        """What a finished run cost, or None."""
        return _read(self.of(run) / "run.json")

    def put_measurement(self, run: Run, values: dict[str, Any]) -> None:
        """Keep what a run cost."""
        _write(self.of(run) / "run.json", values)

    def judgement(self, run: Run, format: str, judge: str) -> dict[str, Any] | None:
        """What a judge said of a checkpoint, or None."""
        return _read(self.of(run) / f"{format}.{judge}.json")

    def put_judgement(self, run: Run, format: str, judge: str, values: dict[str, Any]) -> None:
        """Keep what a judge said."""
        _write(self.of(run) / f"{format}.{judge}.json", values)

    def judges(self) -> list[str]:
        """Names of the judges that have said anything."""
        return sorted({path.name.split(".")[1] for path in self.folder.glob("runs/*/*.*.json")})


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, values: dict[str, Any]) -> None:
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(values, indent=1) + "\n")
    aside.rename(path)
