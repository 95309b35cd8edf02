"""The tap foretells the verdict of the processor."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import JULIET, ROMEO
from tests.support.verdicts import TABLE, Case, Tap, archived, message

WORDS = {"y": "yes", "n": "no", "?": "unknown"}
TABLE_ROWS = json.loads(TABLE.read_text())
NAMES = [
    f"{state['name']}, {'smart' if smart else 'eager'}"
    for state in TABLE_ROWS["states"]
    for smart in (False, True)
]


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with Tap() as tap:
        yield tap


def cases(row: Mapping[str, Any], smart: bool) -> Iterator[tuple[str, Case, str]]:
    """Give each case of a state, with its name and the table's verdict."""
    verdicts = row["smart" if smart else "eager"]
    for stanza in TABLE_ROWS["stanzas"]:
        text = message(stanza["type"], stanza["children"], stanza.get("to", JULIET))
        for (policy, contact), letter in zip(TABLE_ROWS["columns"], verdicts, strict=True):
            case = Case(policy, smart, TABLE_ROWS["excluded"], contact, row["state"], text)
            word = WORDS[letter] if stanza["archived"] else "no"
            yield f"{stanza['name']}, {policy}, contact {contact}", case, word


ROWS = [(row, smart) for row in TABLE_ROWS["states"] for smart in (False, True)]


@pytest.mark.parametrize(("row", "smart"), ROWS, ids=NAMES)
def test_the_tap_and_the_processor_hold_the_table(
    tap: Tap, row: Mapping[str, Any], smart: bool
) -> None:
    for name, case, expected in cases(row, smart):
        verdict = tap.judge(case)
        assert (name, verdict.word) == (name, expected)
        if verdict.event and case.state is not None:
            assert (name, archived(case, verdict.event)) == (name, expected == "yes")


LISTED = st.lists(
    st.sampled_from(
        [ROMEO, f"{ROMEO}/orchard", f"{ROMEO}/Romeo 🌹", "montague.lit", JULIET, "x@y"]
    ),
    max_size=3,
    unique=True,
)
STATES = st.one_of(
    st.builds(lambda asked: {"activated": asked}, st.booleans()),
    st.builds(
        lambda default, always, never: {
            "activated": True, "default": default, "always": always, "never": never
        },
        st.sampled_from(["always", "never", "roster"]),
        LISTED,
        LISTED,
    ),
)  # fmt: skip
NAMESPACES = [
    "jabber:client", "", "urn:xmpp:hints", "urn:xmpp:receipts", "urn:xmpp:eme:0", "urn:x:a",
    "http://jabber.org/protocol/chatstates", "urn:xmpp:jingle-message:0",
]  # fmt: skip
CHILDREN = st.recursive(
    st.sampled_from(["text", " ", "<body>b</body>", "<store xmlns='urn:xmpp:hints'/>"]),
    lambda inner: st.builds(
        lambda name, namespace, content: f"<{name} xmlns='{namespace}'>{content}</{name}>",
        st.sampled_from(["body", "store", "received", "encryption", "x", "active"]),
        st.sampled_from(NAMESPACES),
        inner,
    ),
    max_leaves=3,
)
STANZAS = st.builds(
    lambda kind, children, to: message(kind, "".join(children), to),
    st.sampled_from(["chat", "", "error", "headline", "groupchat"]),
    st.lists(CHILDREN, max_size=4),
    st.sampled_from([JULIET, f"{JULIET}/balcony"]),
)
CASES = st.builds(
    Case,
    policy=st.sampled_from(["false", "roster", "true"]),
    smart=st.booleans(),
    excluded=st.lists(st.sampled_from(["urn:x:a", "jabber:client", "urn:xmpp:hints"]), max_size=2),
    contact=st.booleans(),
    state=STATES,
    stanza=STANZAS,
    peer=st.sampled_from([ROMEO, "montague.lit", JULIET]),
    resource=st.sampled_from(["", "orchard", "Romeo 🌹"]),
)


@given(case=CASES)
@settings(max_examples=500)
def test_the_tap_foretells_the_processor(tap: Tap, case: Case) -> None:
    verdict = tap.judge(case)
    kept = bool(verdict.event) and archived(case, verdict.event)
    assert verdict.word == ("yes" if kept else "no")


@given(case=CASES)
def test_without_a_state_the_tap_says_no_only_where_every_state_does(tap: Tap, case: Case) -> None:
    blind = tap.judge(case._replace(state=None))
    assert blind.word in {"no", "unknown"}
    if blind.word == "no" and blind.event:
        assert not archived(case, blind.event)
