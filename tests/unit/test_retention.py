"""For how long messages are kept, by the host of their archive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.errors import SettingsError
from stanzalake.model.retention import FOREVER, Retention
from tests.support.settings import load

_periods = st.one_of(st.none(), st.integers(1, 3))
_retentions = st.builds(
    Retention, _periods, st.dictionaries(st.sampled_from("ab"), _periods, max_size=2)
)


def test_a_host_has_its_own_period_or_the_default() -> None:
    values = load(
        PROSODY_ARCHIVE_EXPIRES_AFTER="1d",
        STANZALAKE_EXPIRE_HOSTS="Capulet.LIT=2 days, conference.capulet.lit = never",
    )
    retention = values.retention
    assert retention.of_host("capulet.lit") == 2 * 86_400
    assert retention.of_host("conference.capulet.lit") is None
    assert retention.of_host("montague.lit") == 86_400
    assert retention.horizon("juliet@capulet.lit", 200_000) == (27_200 * 1000) << 16
    assert retention.horizon("conference.capulet.lit", 200_000) == 0
    assert load().retention == Retention(31_556_952)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("capulet.lit", "HOST=PERIOD"),
        ("capulet.lit=1 parsec", "a number of seconds"),
        ("juliet@capulet.lit=1d", "expected a domain"),
        ("capulet.lit=1d,CAPULET.lit=2d", "named twice"),
    ],
)
def test_a_period_of_a_host_that_makes_no_sense_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        load(STANZALAKE_EXPIRE_HOSTS=text)
    assert str(caught.value).startswith(f"STANZALAKE_EXPIRE_HOSTS={text} cannot be used:")


@given(_retentions, _retentions, st.sampled_from("abc"))
def test_the_longest_of_two_retentions_keeps_what_either_keeps(
    one: Retention, other: Retention, host: str
) -> None:
    longest = one.longest(other).horizon(f"juliet@{host}", 10)
    assert longest == min(r.horizon(f"juliet@{host}", 10) for r in (one, other))
    assert one.longest(FOREVER).horizon(f"juliet@{host}", 10) == 0
