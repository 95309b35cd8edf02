"""Preferences as a client sets and reads them (XEP-0441)."""

from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.errors import StanzaError
from query.state_publisher import StatePublisher
from stanzalake.model.event import MAX_JIDS, VERSION, DefaultChoice, Preferences
from stanzalake.xmpp.namespaces import MAM, tag
from tests.support.archives import HeardLog, MemoryArchive
from tests.support.events import JULIET, ROMEO
from tests.support.queries import answer, parsed

TYBALT = "tybalt@capulet.lit"


def prefs(content: str = "", default: str | None = "roster") -> str:
    attribute = "" if default is None else f" default='{default}'"
    return f"<prefs xmlns='{MAM}'{attribute}>{content}</prefs>"


def listed(name: str, *jids: str) -> str:
    return f"<{name}>{''.join(f'<jid>{jid}</jid>' for jid in jids)}</{name}>"


def jids(element: Element, name: str) -> list[str | None]:
    [found] = element.findall(tag(MAM, name))
    return [jid.text for jid in found]


async def say(payload: str, log: HeardLog | None = None) -> Element:
    publisher = StatePublisher(JULIET, 7, "roster", log or HeardLog())
    return parsed((await answer(MemoryArchive([]), payload, publisher=publisher)).payload)


def preferences(
    default: DefaultChoice, always: tuple[str, ...] = (), position: int = 1
) -> Preferences:
    return Preferences(
        v=VERSION, owner=JULIET, position=position, default=default, always=always, never=()
    )


@pytest.mark.requirement("441-03", "441-04")
async def test_the_servers_default_is_shown_until_something_is_set() -> None:
    shown = parsed((await answer(MemoryArchive([]), prefs(default=None), "get")).payload)
    assert (shown.tag, shown.get("default")) == (tag(MAM, "prefs"), "roster")
    assert jids(shown, "always") == jids(shown, "never") == []


@pytest.mark.requirement("441-03")
async def test_the_last_preferences_are_shown() -> None:
    history = (preferences("never", (ROMEO,)), preferences("always", (TYBALT,), position=2))
    archive = MemoryArchive([], said=history)
    shown = parsed((await answer(archive, prefs(default=None), "get")).payload)
    assert (shown.get("default"), jids(shown, "always")) == ("always", [TYBALT])


@pytest.mark.behaviour(53)
@pytest.mark.requirement("441-06", "441-20")
async def test_set_preferences_are_echoed_as_applied() -> None:
    log = HeardLog()
    content = (
        f"\n {listed('always', 'ROMEO@Montague.LIT', ROMEO)} "
        f"<never> <jid> {TYBALT}/Sword </jid> </never>\n"
    )
    shown = await say(prefs(content, "never"), log)
    assert shown.get("default") == "never"
    assert jids(shown, "always") == [ROMEO]
    assert jids(shown, "never") == [f"{TYBALT}/Sword"]
    [said] = log.heard
    assert said == Preferences(
        v=VERSION,
        owner=JULIET,
        position=7,
        default="never",
        always=(ROMEO,),
        never=(f"{TYBALT}/Sword",),
    )


@pytest.mark.requirement("441-11", "441-13")
async def test_a_missing_list_is_an_empty_one() -> None:
    shown = await say(prefs(default="always"))
    assert jids(shown, "always") == jids(shown, "never") == []


@pytest.mark.requirement("441-08")
@pytest.mark.parametrize("default", [None, "", "sometimes", "Always", "true"])
async def test_another_default_is_refused(default: str | None) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        await say(prefs(default=default))


@pytest.mark.requirement("441-20")
@pytest.mark.parametrize(
    "content",
    [
        listed("always", "a@b@c"),
        listed("never", "@capulet.lit"),
        listed("never", ""),
        listed("never", "x" * 1024 + "@capulet.lit"),
        listed("always", ROMEO) * 2,
    ],
)
async def test_an_invalid_list_of_jids_is_refused(content: str) -> None:
    log = HeardLog()
    with pytest.raises(StanzaError, match="bad-request"):
        await say(prefs(content), log)
    assert log.heard == []


async def test_lists_are_bounded() -> None:
    most = [f"u{n}@capulet.lit" for n in range(MAX_JIDS)]
    assert len(jids(await say(prefs(listed("never", *most))), "never")) == MAX_JIDS
    with pytest.raises(StanzaError, match="policy-violation"):
        await say(prefs(listed("never", *most, ROMEO)))


async def test_lists_are_bounded_in_the_bytes_that_they_are_normalised_to() -> None:
    letter = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"  # 3 bytes that become 33
    resources = [f"{letter}{n}{letter * 29}" for n in range(200)]
    with pytest.raises(StanzaError, match="policy-violation"):
        await say(prefs(listed("never", *(f"x@y/{resource}" for resource in resources))))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30))
async def test_any_text_is_a_jid_or_refused(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    log = HeardLog()
    if {"\ufffe", "\uffff"} & set(text):
        return
    refusal = ""
    try:
        await say(prefs(listed("always", escaped)), log)
    except StanzaError as error:
        refusal = error.condition
    assert refusal == ("" if log.heard else "bad-request")
