"""Fit, validate, and write the coefficients that ship: `python -m whichbits.prediction --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from whichbits.prediction.training.validate import validate


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m whichbits.prediction", description=__doc__)
    parser.add_argument("--validate", type=Path, required=True, metavar="DIR", help="folder of validation.md and its plots")
    parser.add_argument("--serving-points", type=Path, metavar="CSV", help="AIConfigurator's silicon_sample.csv, or part of it")
    parser.add_argument("--save", type=Path, metavar="JSON", help="write the coefficients with their errors")
    arguments = parser.parse_args()
    coefficients = validate(arguments.validate, arguments.serving_points)
    if arguments.save:
        coefficients.save(arguments.save)


if __name__ == "__main__":
    main()
