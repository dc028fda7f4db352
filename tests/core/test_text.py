"""Files as their writers meant them: byte-order marks, line ends, and characters that are no line ends."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest

from whichbits.core.errors import UserError
from whichbits.core.text import decode, json_lines, parse_json, read_text

ODD = "\u2028 \u2029 \u0085 \x0b \x0c \x1c \x1d \x1e"
ROWS = [{"text": f"one {ODD} two"}, {"text": "größer 数字 🙂"}]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_lines_are_split_at_line_feeds_alone(end: str, mark: str):
    content = (mark + end.join(json.dumps(row, ensure_ascii=False) for row in ROWS) + end + end).encode()
    assert list(json_lines(content, "file")) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON .* at column 2"),
        (b'"caf\xe9"', "not UTF-8 at byte 4"),
        (b'{"a": 1}\r{"a": 2}', "not JSON"),
        (b'"half \\ud83d"', "half of a surrogate"),
        (b"[" * 100_000, "not to be read"),
        (b"9" * 10_000, "not to be read"),
    ],
)
def test_what_is_no_json_line_is_named(line: bytes, says: str):
    with pytest.raises(UserError, match=f"file line 2, text: {says}"):
        list(json_lines(b"1\n" + line, "file"))
    with pytest.raises(UserError, match=f"here, text: {says}"):
        parse_json(line, "here")


@pytest.mark.parametrize(
    ("content", "says", "remedy"),
    [
        ("größe".encode("utf-16"), "in UTF-16", "UTF-8"),
        ("größe".encode("utf-16-le").join([codecs.BOM_UTF16_LE, b""]), "in UTF-16", "UTF-8"),
        (gzip.compress(b"{}\n", mtime=0), "gzip", "unpack"),
        (b"PAR1....PAR1", "Parquet", "JSON lines"),
    ],
)
def test_a_file_that_is_no_text_is_called_by_its_kind(content: bytes, says: str, remedy: str):
    for read in (decode, lambda *given: list(json_lines(*given))):
        with pytest.raises(UserError, match=f"file is .*{says}") as raised:
            read(content, "file")
        assert remedy in str(raised.value.remedy)


def test_a_text_has_no_byte_order_mark_and_ends_its_lines_by_line_feeds(tmp_path):
    file = tmp_path / "größe.txt"
    file.write_bytes(b"\xef\xbb\xbf" + f"one\r\ntwo {ODD}\rthree\n".encode())
    assert read_text(file, "text") == f"one\ntwo {ODD}\nthree\n"
    with pytest.raises(UserError, match="text line 3 is not UTF-8"):
        decode(b"a\nb\nc\xe9", "text")
    with pytest.raises(UserError, match="text line 2 holds a NUL"):
        decode("a\nb".encode("utf-16-le").replace(b"a\0", b"a"), "text")
    with pytest.raises(UserError, match="text cannot be read"):
        read_text(tmp_path / "missing", "text")
    with pytest.raises(UserError, match="text cannot be read"):
        read_text(tmp_path, "text")
