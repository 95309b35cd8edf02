"""What hosts announce to the component."""

import pytest

from query.grants import Grants
from stanzalake.xmpp.namespaces import DELEGATION, MAM, PRIVILEGE
from tests.support.queries import HOST, parsed

DELEGATED = f"<delegation xmlns='{DELEGATION}'><delegated namespace='{MAM}'/></delegation>"
FILTERED = DELEGATED.replace("'/></", "'><attribute name='queryid'/></delegated></")
ELSEWHERE = f"<delegation xmlns='{DELEGATION}'><delegated namespace='other'/></delegation>"
SENDING = f"<privilege xmlns='{PRIVILEGE}'><perm access='message' type='outgoing'/></privilege>"
SILENT = f"<privilege xmlns='{PRIVILEGE}'><perm access='message' type='none'/></privilege>"


def hear(grants: Grants, *announcements: str, sender: str = HOST) -> Grants:
    for announcement in announcements:
        grants.hear(parsed(f"<message from='{sender}'>{announcement}</message>"))
    return grants


@pytest.mark.requirement("355-03", "355-04", "356-01", "356-02", "356-08", "355-05")
@pytest.mark.parametrize(
    ("announcements", "complete"),
    [
        ([], False),
        ([DELEGATED], False),
        ([SENDING], False),
        ([DELEGATED, SENDING], True),
        ([SENDING, DELEGATED], True),
        ([SENDING + DELEGATED], True),
        ([SENDING, FILTERED], True),
        ([SENDING, ELSEWHERE], False),
        ([SILENT, DELEGATED], False),
    ],
)
def test_a_host_must_grant_both(announcements: list[str], complete: bool) -> None:
    assert hear(Grants([HOST]), *announcements).complete(HOST) is complete


@pytest.mark.requirement("355-06")
@pytest.mark.parametrize("later", [ELSEWHERE, SILENT, f"<delegation xmlns='{DELEGATION}'/>"])
def test_the_last_announcement_counts(later: str) -> None:
    grants = hear(Grants([HOST]), DELEGATED, SENDING, later)
    assert not grants.complete(HOST)


def test_a_message_that_announces_nothing_changes_nothing() -> None:
    assert hear(Grants([HOST]), DELEGATED, SENDING, "<body/>").complete(HOST)


@pytest.mark.requirement("355-32", "355-33", "356-03")
@pytest.mark.parametrize(
    "sender", ["", "evil.example", "juliet@capulet.lit", f"{HOST}/x", f"x.{HOST}"]
)
def test_only_a_host_itself_can_announce(sender: str) -> None:
    grants = hear(Grants([HOST]), DELEGATED, SENDING, sender=sender)
    assert not grants.known(sender)
    assert not grants.complete(sender)
    assert not grants.complete(HOST)


@pytest.mark.requirement("114-08")
def test_a_lost_connection_takes_all_grants_with_it() -> None:
    grants = hear(Grants([HOST]), DELEGATED, SENDING)
    grants.forget()
    assert not grants.complete(HOST)
