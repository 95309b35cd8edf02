"""Batches are validated line by line, and no line is dropped."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import MAX_BATCH, decode_batch
from tests.support.events import JULIET, encoded

HOST = "capulet.lit"


def batch(*lines: bytes) -> str:
    return base64.b64encode(b"".join(line + b"\n" for line in lines)).decode()


def test_valid_events_keep_their_order_and_bytes() -> None:
    lines = [encoded(n) for n in range(3)]
    result = decode_batch(batch(*lines), HOST)
    assert [entry.value for entry in result.events] == lines
    assert {entry.key for entry in result.events} == {JULIET}
    assert result.rejected == []


def test_an_invalid_line_does_not_stop_the_valid_ones() -> None:
    result = decode_batch(batch(encoded(1), b"{}", b"", encoded(2)), HOST)
    assert [entry.value for entry in result.events] == [encoded(1), encoded(2)]
    assert [entry.value for entry in result.rejected] == [b"{}", b""]
    assert all(dict(entry.headers)["source"] == "tap of capulet.lit" for entry in result.rejected)


def test_a_host_writes_only_its_own_archives() -> None:
    result = decode_batch(batch(encoded(1, owner="juliet@montague.lit")), HOST)
    assert result.events == []
    assert "host" in dict(result.rejected[0].headers)["reason"]


@pytest.mark.parametrize("text", ["", "  \n", "no base64!", "ä", "QQ=", "A" * (MAX_BATCH + 4)])
def test_an_unreadable_batch_becomes_a_dead_letter(text: str) -> None:
    result = decode_batch(text, HOST)
    assert result.events == []
    assert [entry.value for entry in result.rejected] == [text.encode()]


def test_line_breaks_within_base64_are_ignored() -> None:
    text = batch(encoded(1))
    assert decode_batch("\n".join([text[:20], text[20:]]), HOST).events


@given(st.binary(max_size=200))
def test_arbitrary_bytes_become_dead_letters(raw: bytes) -> None:
    result = decode_batch(base64.b64encode(raw).decode(), HOST)
    assert result.events == []
    assert result.rejected
