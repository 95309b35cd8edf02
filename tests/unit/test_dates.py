"""Dates of XEP-0082."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.xmpp import dates

AUGUST = 1_281_139_200_000
"""2010-08-07T00:00:00Z."""


@pytest.mark.requirement("82-01", "82-05", "82-06", "313-49")
@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("2010-08-07T00:00:00Z", AUGUST),
        ("2010-08-07T02:00:00+02:00", AUGUST),
        ("2010-08-06T18:30:00-05:30", AUGUST),
        ("2010-08-06T10:00:00-14:00", AUGUST),
        ("2010-08-06T24:00:00Z", AUGUST),
        ("2010-08-06T24:00:00.000Z", AUGUST),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("10000-01-01T00:00:00Z", 253_402_300_800_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("-0001-12-31T00:00:00Z", -62_167_305_600_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
    ],
)
def test_a_date_is_understood(written: str, milliseconds: int) -> None:
    assert dates.parse(written, up=True) == milliseconds
    # What is written to the second stands for all of it; a fraction, also of zeros, does not.
    assert dates.parse(written, up=False) == milliseconds + (0 if "." in written else 999)


@pytest.mark.requirement("82-03", "82-04", "313-50", "313-52")
@pytest.mark.parametrize(
    ("fraction", "down", "up"),
    [
        (".1", 100, 100),
        (".12", 120, 120),
        (".123", 123, 123),
        (".123000000000", 123, 123),
        (".1230001", 123, 124),
        (".999999", 999, 1000),
        (".0000000000001", 0, 1),
    ],
)
def test_a_finer_moment_is_rounded_into_the_span(fraction: str, down: int, up: int) -> None:
    written = f"2010-08-07T00:00:00{fraction}Z"
    assert dates.parse(written, up=False) == AUGUST + down
    assert dates.parse(written, up=True) == AUGUST + up


@pytest.mark.requirement("82-02", "82-06", "82-07", "313-49")
@pytest.mark.parametrize(
    "written",
    [
        "",
        "2010-08-07",
        "2010-08-07T00:00:00",
        "2010-08-07 00:00:00Z",
        "20100807T00:00:00Z",
        "20100807T00:00:00",
        "2010-08-07t00:00:00z",
        "2010-02-30T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2010-13-01T00:00:00Z",
        "2010-00-01T00:00:00Z",
        "2010-08-07T24:00:01Z",
        "2010-08-07T24:00:00.0001Z",
        "2010-08-07T25:00:00Z",
        "2010-08-07T00:60:00Z",
        "2010-08-07T00:00:60Z",
        "2010-08-07T00:00:00.Z",
        "2010-08-07T00:00:00+1400",
        "2010-08-07T00:00:00+14:01",
        "2010-08-07T00:00:00+13:60",
        "02010-08-07T00:00:00Z",
        "2010-08-07T00:00:00Z\n",
        " 2010-08-07T00:00:00Z",
        "٢٠١٠-08-07T00:00:00Z",
        "9999999999-01-01T00:00:00Z",
    ],
)
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text is for developers
        dates.parse(written, up=True)


@pytest.mark.requirement("82-08", "203-02", "313-54")
def test_a_date_is_emitted_in_utc_to_the_millisecond() -> None:
    assert dates.emit(AUGUST + 7) == "2010-08-07T00:00:00.007Z"


@pytest.mark.requirement("313-54")
@given(st.integers(min_value=0, max_value=2**48 - 1))
def test_a_formatted_date_parses_to_the_same_moment(milliseconds: int) -> None:
    written = dates.emit(milliseconds)
    assert dates.parse(written, up=True) == milliseconds == dates.parse(written, up=False)


@given(st.text())
def test_no_text_does_worse_than_a_value_error(written: str) -> None:
    try:
        dates.parse(written, up=False)
    except ValueError:
        return
