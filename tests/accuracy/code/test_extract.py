"""Programs read out of chat replies, rule by rule."""

from __future__ import annotations

import pytest

from whichbits.accuracy.code.extract import program_of

HEAD = (
    'from typing import List\n\n\ndef helper(x):\n    return x + 1\n\n\ndef wanted(values: List[int]) -> int:\n    """Sum."""\n'
)
ADDS = "def wanted(values):\n    return sum(values)\n"


def run(reply: str, head: str = HEAD):
    """The function that the program of the reply defines, or None."""
    program = program_of(reply, entry_point="wanted", head=head)
    if program is None:
        return None
    names: dict[str, object] = {}
    exec(program, names)
    return names["wanted"]


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{ADDS}```",
        f"Sure!\n\n```python\n{ADDS}```\n\nExample:\n\n```python\nprint(wanted([1]))\nraise SystemExit\n```\n",
        f"~~~py\n{ADDS}~~~",
        f"```\n{ADDS}```",
        f"````python\n# ```\n{ADDS}````",
        "  ```python\n  def wanted(values):\n      return sum(values)\n  ```",
        f"<think>\n```python\ndef wanted(values):\n    return 0\n```\n</think>\n```python\n{ADDS}```",
        f"[unused16]Let me see.[unused17]```python\n{ADDS}```",
        f"I first thought `x`.\n</think>\n\n{ADDS}",
        f"```python\n{ADDS}",
        f"```python\n{ADDS}\n\ndef more(values):\n    return [",
        f"{ADDS}\n\nThis function sums.",
        f"The answer:\n\n{ADDS}",
        f"```python\n{ADDS}\nassert wanted([1]) == 2\ninput()\nif __name__ == '__main__':\n    raise SystemExit\n```",
        f"```python\ndef wanted(values):\n    return 0\n```\nThat is wrong. Better:\n```python\n{ADDS}```",
        "```python\ndef add(a, b):\n    return a + b\n```\nand\n```python\ndef wanted(values):\n    total = 0\n"
        "    for one in values:\n        total = add(total, one)\n    return total\n```",
        "```python\ndef wanted(values):\n    return sum(helper(one) - 1 for one in values)\n```",
        "```python\nwanted = lambda values: sum(values)\n```",
        "```python\nimport functools, operator\nSTART = 0\n\n\ndef wanted(values: List[int]):\n"
        "    return functools.reduce(operator.add, values, START)\n```",
        "```bash\npip install numpy\n```\n```python\n" + ADDS + "```",
        "    return sum(values)\n",
        "```python\n    total = sum(values)\n    return total\n```",
    ],
)
def test_the_program_is_found(reply: str) -> None:
    function = run(reply)
    assert function is not None
    assert function([1, 2, 4]) == 7


@pytest.mark.parametrize(
    ("reply", "head"),
    [
        ("<think>\n```python\n" + ADDS + "```", HEAD),
        ("", HEAD),
        ("I am sorry.", ""),
        ("I am sorry.", HEAD),
        ("```python\ndef other(values):\n    return sum(values)\n```", ""),
        ("```json\n{}\n```", ""),
        ("```python\n]]]]\n```", ""),
    ],
)
def test_no_program_is_none(reply: str, head: str) -> None:
    assert run(reply, head) is None


def test_a_function_of_another_name_is_not_the_answer() -> None:
    program = program_of("```python\ndef other(values):\n    return sum(values)\n```", entry_point="wanted", head=HEAD)
    names: dict[str, object] = {}
    if program is not None:
        exec(program, names)
        assert names["wanted"]([1, 2]) is None
