"""Policy: the server's default, preferences and smart archiving, as of a message's position."""

import itertools

import pytest

from processor.policy import Default, Policy
from stanzalake.model.event import VERSION, Activation, DefaultChoice, Preferences
from stanzalake.model.history import ArchiveState, Timeline
from tests.support.events import JULIET, ROMEO, message

FULL = f"{ROMEO}/orchard"


def preferences(
    position: int, default: DefaultChoice, always: tuple[str, ...] = (), never: tuple[str, ...] = ()
) -> Preferences:
    return Preferences(
        v=VERSION,
        owner=JULIET,
        position=position,
        default=default,
        always=always,
        never=never,
    )


def activation(position: int) -> Activation:
    return Activation(v=VERSION, owner=JULIET, position=position)


def admits(
    *history: ArchiveState, default: Default = "true", smart: bool = False, contact: bool = True
) -> bool:
    return Policy(default, smart).admits(message(100, contact=contact), Timeline(history))


@pytest.mark.parametrize(
    ("default", "contact", "admitted"),
    [
        ("true", True, True),
        ("true", False, True),
        ("roster", True, True),
        ("roster", False, False),
        ("false", True, False),
        ("false", False, False),
    ],
)
def test_the_servers_policy_applies_without_preferences(
    default: Default, contact: bool, admitted: bool
) -> None:
    assert admits(default=default, contact=contact) is admitted


@pytest.mark.behaviour(52, 54)
@pytest.mark.requirement("441-09", "441-10", "441-12", "441-15")
@pytest.mark.parametrize(
    ("default", "listed", "contact"),
    itertools.product(("always", "never", "roster"), ("", "always", "never"), (True, False)),
)
def test_preferences_override_the_servers_policy(
    default: DefaultChoice, listed: str, contact: bool
) -> None:
    lists = {
        "always": (ROMEO,) if listed == "always" else (),
        "never": (ROMEO,) if listed == "never" else (),
    }
    admitted = admits(preferences(1, default, **lists), default="false", contact=contact)
    by_default = contact if default == "roster" else default == "always"
    assert admitted is {"always": True, "never": False, "": by_default}[listed]


@pytest.mark.requirement("441-16")
def test_a_full_jid_matches_that_resource_only() -> None:
    assert admits(preferences(1, "never", always=(FULL,)))
    assert not admits(preferences(1, "never", always=(f"{ROMEO}/balcony",)))
    assert not admits(preferences(1, "always", never=(FULL,)))


@pytest.mark.requirement("441-19")
def test_full_jids_precede_bare_ones_and_never_precedes_always() -> None:
    assert admits(preferences(1, "never", always=(FULL,), never=(ROMEO,)))
    assert not admits(preferences(1, "always", always=(ROMEO,), never=(FULL,)))
    assert not admits(preferences(1, "always", always=(ROMEO,), never=(ROMEO,)))


@pytest.mark.requirement("441-21")
def test_preferences_apply_to_later_messages_only() -> None:
    history = (preferences(50, "never"), preferences(99, "always"), preferences(101, "never"))
    assert admits(*history, default="false")
    assert not admits(*history[:1])
    assert admits(*history[2:], default="true")


def test_smart_archiving_starts_with_the_owners_first_request() -> None:
    assert not admits(smart=True)
    assert not admits(activation(101), smart=True)
    assert admits(activation(99), smart=True)
    assert not admits(activation(99), smart=True, default="roster", contact=False)
    assert admits(preferences(99, "always"), smart=True, default="false")
    assert not admits(preferences(99, "never"), activation(98), smart=True)


def test_an_activation_changes_nothing_without_smart_archiving() -> None:
    assert admits(activation(99), default="true")
    assert not admits(activation(99), default="false")
