"""JIDs come to the form under which Prosody knows them."""

import unicodedata

import pytest

from stanzalake.errors import InvalidJid
from stanzalake.model import jid
from tests.support.jids import normalised_by_prosody, written

_NUMBER = 5_000
_HEBREW = "\N{HEBREW LETTER ALEF}"


def _normalised(text: str) -> str | None:
    try:
        return str(jid.parse(text))
    except InvalidJid:
        return None


def _differences(jids: list[str]) -> dict[str, tuple[str | None, str | None]]:
    theirs = normalised_by_prosody(jids)
    ours = map(_normalised, jids)
    return {j: (a, b) for j, a, b in zip(jids, ours, theirs, strict=True) if a != b}


@pytest.mark.parametrize("seed", range(3))
def test_any_text_comes_to_the_jid_that_prosody_makes_of_it(seed: int) -> None:
    assert not _differences(written(_NUMBER, seed))


def test_each_assigned_character_is_treated_as_prosody_does() -> None:
    characters = [
        chr(code)
        for code in range(1, 0x20000)
        if unicodedata.category(chr(code)) not in {"Cn", "Cs"} and not 0x3400 < code < 0xD7A4
    ]
    jids = [
        text for c in characters for text in (f"{c}@x", c, f"x/{c}", f"x/{_HEBREW}{c}{_HEBREW}")
    ]
    assert not _differences(jids)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("room@X/Romeo \N{ROSE}", "room@x/Romeo \N{ROSE}"),
        ("a@x/ẞ", "a@x/ẞ"),
        ("ẞa@x", "ẞa@x"),
        ("A@X.org.", "a@x.org"),
        ("[2001:DB8::1]/x", "[2001:db8::1]/x"),
        ("a" * 1023 + "@x", "a" * 1023 + "@x"),
    ],
)
def test_a_jid_that_prosody_delivers_to_is_taken(text: str, normal: str) -> None:
    assert _normalised(text) == normal
    assert normalised_by_prosody([text]) == [normal]


@pytest.mark.parametrize(
    "text", ["", "@x", "a@", "a@b@c", "x/", ".", "a b@x", "a@x/\x07", "a" * 1024 + "@x", "\ud800@x"]
)
def test_text_that_prosody_refuses_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(InvalidJid) as caught:
        jid.parse(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["\xad", "\xad@x", "a@\xad", "a@x/\xad"])
def test_a_part_that_normalises_to_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidJid):
        jid.parse(text)


def test_a_jid_has_its_parts_and_a_bare_form() -> None:
    parsed = jid.parse("Romeo@Montague.lit/Orchard")
    assert parsed == jid.Jid("romeo", "montague.lit", "Orchard")
    assert parsed.bare == "romeo@montague.lit"
