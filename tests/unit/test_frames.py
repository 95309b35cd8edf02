"""Frames come back as they were written, and damaged ones are errors."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.model.position import MAX_POSITION
from stanzalake.xmpp import frames
from stanzalake.xmpp.frames import Frame

FRAMES = st.lists(
    st.builds(
        Frame,
        st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=16),
        st.binary(max_size=50),
        st.integers(0, MAX_POSITION),
    )
)


@given(FRAMES)
def test_frames_come_back_as_they_were_written(given_frames: list[Frame]) -> None:
    data = frames.write(given_frames)
    assert list(frames.read(data)) == given_frames
    assert frames.read_base64(base64.b64encode(data).decode(), 2 * len(data) + 4) == tuple(
        given_frames
    )


@given(FRAMES, st.integers(1, 200))
def test_parts_are_within_the_limit_and_cut_larger_frames_alone(
    given_frames: list[Frame], limit: int
) -> None:
    parts = frames.write_parts(given_frames, limit)
    assert b"".join(parts) == frames.write(given_frames)
    assert all(len(part) <= limit for part in parts)
    assert all(parts) or parts == [b""]
    if all(len(frames.write([frame])) <= limit for frame in given_frames):
        assert [frame for part in parts for frame in frames.read(part)] == given_frames


@given(FRAMES.filter(bool), st.data())
def test_a_truncated_text_is_an_error_or_fewer_frames(
    given_frames: list[Frame], data: st.DataObject
) -> None:
    whole = frames.write(given_frames)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        found = list(frames.read(whole[:cut]))
    except ValueError:
        return
    assert found == given_frames[: len(found)]
    assert len(found) < len(given_frames)


@given(st.binary())
def test_arbitrary_bytes_are_frames_or_an_error(data: bytes) -> None:
    try:
        found = frames.read(data)
    except ValueError:
        return
    assert sum(len(frame.content) for frame in found) <= len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"iq",
        b"iq 0 3\nab",
        b"iq 0 99999999999\nab",
        b"iq 0 -1\n",
        b"iq 18446744073709551616 0\n",
        b"IQ 0 0\n",
        b" 0 0\n",
        b"abcdefghijklmnopq 0 0\n",
        b"iq 0 0\r\n",
        b"iq 0 2\nabc",
    ],
)
def test_malformed_frames_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        frames.read(data)


@pytest.mark.parametrize("text", ["***", "eA", "e A==", "eA==\n", "é"])
def test_text_that_is_not_base64_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        frames.read_base64(text, 100)


def test_a_text_over_the_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="long"):
        frames.read_base64("A" * 101, 100)
