"""Parameter types and options that commands share."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import click

from stanzalake.config import duration
from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidJid
from stanzalake.model import jid


def _parse(text: str) -> jid.Jid:
    """Normalise a JID that a person has typed or pasted.

    Raises:
        InvalidJid: As `jid.parse` says, or the domain has white space, which Prosody would take
            but nobody has.
    """
    parsed = jid.parse(text)
    if any(map(str.isspace, parsed.domain)):
        raise InvalidJid("a domain has no white space")
    return parsed


class _Jid(click.ParamType):
    """A bare JID, normalised."""

    name = "jid"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parsed = _parse(value)
        except InvalidJid as error:
            self.fail(f"{value!r} is not a JID: {error}", param, ctx)
        if parsed.resource is not None:
            self.fail(f"{value!r} is not a bare JID, such as user@example.org", param, ctx)
        return parsed.bare


class _Party(click.ParamType):
    """A JID, normalised: bare for all of its resources, full for one, an occupant's nick."""

    name = "jid"

    def convert(
        self, value: str | jid.Jid, param: click.Parameter | None, ctx: click.Context | None
    ) -> jid.Jid:
        if isinstance(value, jid.Jid):
            return value
        try:
            return _parse(value)
        except InvalidJid as error:
            self.fail(f"{value!r} is not a JID: {error}", param, ctx)


class _Host(click.ParamType):
    """A domain, normalised."""

    name = "host"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parsed = _parse(value)
        except InvalidJid as error:
            self.fail(f"{value!r} is not a host: {error}", param, ctx)
        if parsed != jid.Jid(None, parsed.domain):
            self.fail(f"{value!r} is not a host, such as example.org", param, ctx)
        return parsed.domain


class _Owner(_Jid):
    """A bare JID of an account or a room."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        owner = super().convert(value, param, ctx)
        if "@" not in owner:
            self.fail(
                f"{value!r} is not an account or a room, such as user@example.org", param, ctx
            )
        return owner


class _Moment(click.ParamType):
    """An ISO 8601 date or time, UTC by default, as unix milliseconds."""

    name = "moment"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            example = "2026-01-31 or 2026-01-31T12:00Z"
            self.fail(f"{value!r} is no date, which looks like {example}", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))


class _Period(click.ParamType):
    """A duration in seconds; 0 for never."""

    name = "period"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return duration.parse(value) or 0
        except ValueError as error:
            self.fail(f"{value!r} is no period: {error}", param, ctx)


def within(event: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for how long to wait for a processor to apply an event."""
    return click.option(
        "--within",
        "timeout",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help=f"Seconds to wait for a processor to apply the {event}.",
    )


def with_party() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for the other party of messages; `split` takes its value apart."""
    return click.option(
        "--with",
        "peer",
        type=_Party(),
        help="Only messages with this JID: bare, or full for one resource or an occupant's nick.",
    )


def split(party: jid.Jid | None) -> tuple[str, str]:
    """Return a bare JID and a resource, empty where there is none."""
    return (party.bare, party.resource or "") if party else ("", "")


def require_hosts(values: Settings, hosts: Iterable[str]) -> None:
    """Refuse VirtualHosts that are not ours; probably a typing error.

    Raises:
        click.UsageError: A host is not among STANZALAKE_HOSTS.
    """
    for host in hosts:
        if host not in values.hosts:
            raise click.UsageError(f"{host!r} is not among STANZALAKE_HOSTS.")


def require_order(start: int | None, end: int | None) -> None:
    """Refuse an empty period.

    Raises:
        click.UsageError: The end is not after the start.
    """
    if end is not None and end <= (start or 0):
        raise click.UsageError("--end has to be after --start.")


JID_TYPE = _Jid()
HOST = _Host()
OWNER = _Owner()
MOMENT = _Moment()
PERIOD = _Period()
