"""Classes by name, of this module and of packages that are installed."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest

from whichbits.core import entry_points
from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError

GROUP = "whichbits.tests_of_entry_points"


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Decimal]:
    """`own`, `outside` of one package, and `both` of two."""
    for name, also in (("first", "outside = things_of_packages:Outside\n"), ("second", "")):
        package = tmp_path / f"{name}-2.5.dist-info"
        package.mkdir()
        (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n")
        (package / "entry_points.txt").write_text(f"[{GROUP}]\n{also}both = things_of_packages:Outside\n")
    (tmp_path / "things_of_packages.py").write_text("import decimal\n\n\nclass Outside(decimal.Decimal):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("field", "thing", GROUP, ("decimal", "Decimal"), {"own": ("decimal", "Decimal")})


def test_names_are_those_of_the_package_first(things: Registry[Decimal]) -> None:
    assert things.names() == ("own", "both", "outside")
    assert things.get("own") == 0


def test_what_an_entry_point_names_is_looked_up_once(things: Registry[Decimal], monkeypatch: pytest.MonkeyPatch) -> None:
    first = things.get("outside")
    monkeypatch.setattr(entry_points, "entry_points", lambda **_: pytest.fail("looked up again"))
    again = things.get("outside")
    assert type(again) is type(first)
    assert again is not first


def test_two_entry_points_of_one_name_are_refused(things: Registry[Decimal]) -> None:
    for ask in (things.get, things.packages):
        with pytest.raises(UserError, match="several entry points") as raised:
            ask("both")
        assert raised.value.message.count("things_of_packages:Outside") == 2


def test_packages_are_named_with_their_versions(things: Registry[Decimal]) -> None:
    things.register("mine", Decimal)
    assert things.packages("outside") == {"first": "2.5"}
    assert things.packages("own") == things.packages("mine") == {}
    with pytest.raises(UserError, match="no thing 'other'"):
        things.packages("other")


def test_a_mistake_in_a_constructor_is_told(things: Registry[Decimal], tmp_path: Path) -> None:
    code = "import decimal\n\n\nclass Outside(decimal.Decimal):\n    def __new__(cls):\n        return 1 + 'a'\n"
    (tmp_path / "things_of_packages.py").write_text(code)
    sys.modules.pop("things_of_packages", None)
    with pytest.raises(UserError, match="unsupported operand") as raised:
        things.get("outside")
    sys.modules.pop("things_of_packages")
    assert isinstance(raised.value.__cause__, TypeError)
