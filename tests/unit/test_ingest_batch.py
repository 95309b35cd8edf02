"""What a tap sends is checked line by line, and nothing of it is dropped."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import MAX_BATCH, sort
from tests.support.events import JULIET, encoded

HOST = "capulet.lit"


def batch(*lines: bytes) -> str:
    return base64.b64encode(b"".join(line + b"\n" for line in lines)).decode()


def test_good_events_keep_their_order_and_bytes() -> None:
    lines = [encoded(n) for n in range(3)]
    result = sort(batch(*lines), HOST)
    assert [entry.value for entry in result.events] == lines
    assert {entry.key for entry in result.events} == {JULIET}
    assert result.rejected == []


def test_a_bad_line_does_not_stop_the_good_ones() -> None:
    result = sort(batch(encoded(1), b"{}", b"", encoded(2)), HOST)
    assert [entry.value for entry in result.events] == [encoded(1), encoded(2)]
    assert [entry.value for entry in result.rejected] == [b"{}", b""]
    assert all(dict(entry.headers)["source"] == "tap of capulet.lit" for entry in result.rejected)


def test_a_host_writes_only_its_own_archives() -> None:
    result = sort(batch(encoded(1, owner="juliet@montague.lit")), HOST)
    assert result.events == []
    assert "host" in dict(result.rejected[0].headers)["reason"]


@pytest.mark.parametrize("text", ["", "  \n", "no base64!", "ä", "QQ=", "A" * (MAX_BATCH + 4)])
def test_a_batch_that_cannot_be_read_is_kept_whole(text: str) -> None:
    result = sort(text, HOST)
    assert result.events == []
    assert [entry.value for entry in result.rejected] == [text.encode()]


def test_line_breaks_within_base64_are_no_fault() -> None:
    text = batch(encoded(1))
    assert sort("\n".join([text[:20], text[20:]]), HOST).events


@given(st.binary(max_size=200))
def test_any_bytes_end_as_rejected(raw: bytes) -> None:
    result = sort(base64.b64encode(raw).decode(), HOST)
    assert result.events == []
    assert result.rejected
