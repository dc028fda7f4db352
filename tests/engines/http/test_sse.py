from __future__ import annotations

import pytest

from whichbits.engines.http.sse import Event, EventStream

PLAIN = b'data: {"a": 1}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    "stream",
    [
        PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b"data: ", b"data:"),
        b": keep-alive\n\n" + PLAIN,
        b"data:\n\ndata: \n\n" + PLAIN,
        PLAIN.replace(b"data: [", b"event: message\nid: 3\nretry: 1000\ndata: ["),
        b'data: {"a":\ndata:  1}\n\ndata: [DONE]\n\n',
        PLAIN.rstrip(b"\n"),
        b"\n\n\n" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
    ],
)
def test_each_way_of_writing_events_however_it_is_cut(stream: bytes) -> None:
    for size in (1, 2, 3, 7, len(stream)):
        events = EventStream()
        found = [event for start in range(0, len(stream), size) for event in events.feed(stream[start : start + size])]
        found += events.end()
        assert [event.data.replace("\n", "") for event in found] == ['{"a": 1}', "[DONE]"], size


def test_an_event_is_there_as_soon_as_it_is_whole() -> None:
    events = EventStream()
    assert events.feed(b"data: x\n") == []
    assert events.feed(b"\nda") == [Event("x")]
    assert events.feed(b"ta: y\r\n\r\n") == [Event("y")] and events.end() == []


def test_an_error_in_a_field_of_its_own_and_broken_characters() -> None:
    stream = b'error: {"message": "full"}\n\ndata: \xff\n\nevent: error\ndata: {"detail": "full"}\n\nevent: error\n\n'
    assert EventStream().feed(stream) == [
        Event('{"message": "full"}', error=True),
        Event("\ufffd"),
        Event('{"detail": "full"}', error=True),
        Event("", error=True),
    ]
