"""Chunks of query parameters."""

from clickhouse_connect.driver.binding import format_bind_value
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.store.chunks import chunks

FIELD = 128 * 1024
"""A ClickHouse server's limit on the bytes of a parameter."""
texts = st.one_of(
    st.text(max_size=10),
    st.builds(str.__mul__, st.sampled_from(["\\", "'", "ж", "😀"]), st.integers(0, 2047)),
)


@given(st.lists(texts, max_size=100))
def test_chunks_keep_all_values_in_order(values: list[str]) -> None:
    divided = list(chunks(values * 9, str))
    assert [value for piece in divided for value in piece] == values * 9
    assert all(divided)


@given(st.lists(texts, min_size=1, max_size=20))
def test_every_chunk_fits_into_a_parameter(values: list[str]) -> None:
    for piece in chunks(values * 50, str):
        assert len(format_bind_value(piece).encode()) <= FIELD
        assert len(format_bind_value([2**64 - 1] * len(piece))) <= FIELD
