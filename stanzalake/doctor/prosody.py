"""Prosody: component listeners, component names and secrets, and the tap of each host."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from stanzalake.config import duration
from stanzalake.config.settings import Settings
from stanzalake.doctor import clock, tap
from stanzalake.doctor.finding import Finding, fault, fine, unknown, warning
from stanzalake.doctor.tap import Answer, Refused, Unreachable
from stanzalake.model.event import VERSION
from stanzalake.model.position import Sealer, to_milliseconds

_NO_TAP = "unsupported-stanza-type"
_ROOMS = "rooms"
MIN_STANZA_LIMIT = 128 * 1024
"""Bytes of the largest stanza that the query component sends: a part of 64 KiB as base64."""
_MAX_AHEAD = 3_600_000
"""Milliseconds from which on a position ahead of the clock is a fault."""


class Target(NamedTuple):
    """Addressee of a query to a tap.

    Attributes:
        address: Host and port of a component listener.
        jid: Domain of the component.
        host: The VirtualHost.
    """

    address: tuple[str, int]
    jid: str
    host: str


Outcome = Answer | Refused | Unreachable
Outcomes = Mapping[Target, Outcome]


def checker(jids: Sequence[str]) -> Callable[[Settings], Awaitable[Sequence[Finding]]]:
    """Return the check of a service.

    Args:
        jids: Domains of the components that the service connects as.
    """

    async def check(settings: Settings) -> Sequence[Finding]:
        targets = [
            Target(address, jid, host)
            for address in settings.prosody
            for jid in jids
            for host in settings.hosts
        ]
        outcomes = await asyncio.gather(*(_query(target, settings) for target in targets))
        return list(_findings(dict(zip(targets, outcomes, strict=True)), settings, jids))

    return check


async def _query(target: Target, settings: Settings) -> Outcome:
    secret = settings.component_secret.get_secret_value()
    try:
        return await tap.query(target.address, target.jid, secret, target.host)
    except (Refused, Unreachable) as error:
        return error


def _findings(outcomes: Outcomes, settings: Settings, jids: Sequence[str]) -> Iterator[Finding]:
    for host, port in settings.prosody:
        here = {target: o for target, o in outcomes.items() if target.address == (host, port)}
        errors = [outcome for outcome in here.values() if isinstance(outcome, Unreachable)]
        if errors:
            yield _unreachable(f"Prosody {host}:{port}", errors[0])
            continue
        yield fine(f"Prosody {host}:{port}", "its component listener answers")
        for jid in jids:
            own = [outcome for target, outcome in here.items() if target.jid == jid]
            yield _component(f"component {jid} at {host}:{port}", jid, own)
    for name in settings.hosts:
        yield from _host(name, outcomes, settings)


def _unreachable(subject: str, error: Unreachable) -> Finding:
    return fault(
        subject,
        f"cannot be reached ({error})",
        "start Prosody, and let STANZALAKE_PROSODY say what its component_interfaces and "
        "component_ports say (127.0.0.1 and 5347 by default)",
    )


def _component(subject: str, jid: str, outcomes: Sequence[Outcome]) -> Finding:
    conditions = {str(outcome) for outcome in outcomes if isinstance(outcome, Refused)}
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    if refusals := conditions - {_NO_TAP}:
        return fault(subject, *_refusal(jid, refusals))
    if not answers:
        return unknown(
            subject, "its name is known; its secret can be checked once a host has the tap"
        )
    connected = answers[0].connected
    return fine(subject, f"the secret is right; {'' if connected else 'not '}connected just now")


def _refusal(jid: str, conditions: Collection[str]) -> tuple[str, str]:
    """Return why Prosody closed a component's stream, and the remedy."""
    if "host-unknown" in conditions:
        return (
            f'Prosody\'s configuration has no Component "{jid}"',
            (
                f'add Component "{jid}" with its component_secret to it and reload Prosody, or '
                "set STANZALAKE_INGEST_JID or STANZALAKE_QUERY_JID to the name that is there; if "
                "it is there, let STANZALAKE_PROSODY name one of component_ports, not a port for "
                "clients"
            ),
        )
    if "not-authorized" in conditions:
        return (
            "Prosody refused the secret",
            f'let STANZALAKE_COMPONENT_SECRET equal component_secret of Component "{jid}"',
        )
    return (
        f"Prosody closed the stream: {', '.join(sorted(conditions))}",
        "let STANZALAKE_PROSODY name component_ports, not a port for clients or servers",
    )


def _host(name: str, outcomes: Outcomes, settings: Settings) -> Iterator[Finding]:
    subject = f"host {name}"
    own = {target: outcome for target, outcome in outcomes.items() if target.host == name}
    answers = {target: o for target, o in own.items() if isinstance(o, Answer)}
    if answers:
        yield from _tap(subject, name, answers, settings)
    elif any(isinstance(o, Refused) and str(o) == _NO_TAP for o in own.values()):
        yield fault(
            subject,
            "no mod_stanzalake, or an older one, answers for it",
            f'put "stanzalake" into modules_enabled of VirtualHost "{name}" in place of "mam", '
            "let plugin_paths have its directory, and restart Prosody; "
            "if it is there, Prosody's log says why it was not loaded",
        )
    else:
        yield unknown(subject, "its tap can be checked once a component can connect")


def _tap(
    subject: str, name: str, answers: Mapping[Target, Answer], settings: Settings
) -> Iterator[Finding]:
    first = next(iter(answers.values()))
    yield _version(subject, first)
    if first.mam:
        yield _replaced(subject, name, first)
    if first.stanza_limit is not None and first.stanza_limit < MIN_STANZA_LIMIT:
        yield _stanza_limit(subject, first.stanza_limit)
    yield _key(subject, name, first, settings)
    if first.expires_after:
        yield from _retention(subject, name, first.expires_after, settings)
    if settings.query_jid in {target.jid for target in answers}:
        yield _rules(subject, name, first, settings)
    yield clock.check(subject, *first.clock)
    yield from _sequence(subject, first)
    for target, answer in answers.items():
        if not answer.listed:
            yield _unlisted(subject, name, target.jid)
    instances = {a.instance: t.address for t, a in answers.items() if a.instance}
    if len(instances) > 1:
        yield _two_prosodys(subject, sorted(instances.values()))
    yield _journal(subject, first)


def _retention(subject: str, name: str, wanted: str, settings: Settings) -> Iterator[Finding]:
    """Compare mod_muc_mam's option, which its operator may still count on, with the settings."""
    here = settings.retention.of_host(name)
    try:
        if duration.parse(wanted) == here:
            return
    except ValueError:  # an option that mod_muc_mam would refuse
        wanted = repr(wanted)
    yield warning(
        f"{subject}, retention",
        f"muc_log_expires_after is {wanted} and has no effect: messages are kept for "
        f"{duration.write(here)}",
        f"set STANZALAKE_EXPIRE_HOSTS={name}=PERIOD of the services, or take the option out",
    )


def _replaced(subject: str, name: str, answer: Answer) -> Finding:
    replaced = "muc_mam" if answer.kind == _ROOMS else "mam"
    return fault(
        subject,
        f"mod_{replaced} is loaded besides mod_stanzalake: both stamp and answer",
        f'take "{replaced}" out of modules_enabled for {_section(name, answer)}, '
        "also out of the global list, and restart Prosody",
    )


def _unlisted(subject: str, name: str, jid: str) -> Finding:
    return fault(
        subject,
        f"it does not use the component {jid}",
        f'add "{jid}" to stanzalake_ingest or stanzalake_query of VirtualHost "{name}", '
        "whichever it is",
    )


def _sequence(subject: str, answer: Answer) -> Iterator[Finding]:
    ahead = to_milliseconds(answer.last) - to_milliseconds(answer.position)
    if ahead > _MAX_AHEAD:
        yield fault(
            f"{subject}, positions",
            f"the last one is {ahead / 3_600_000:.1f} hours ahead of Prosody's clock: until then "
            "every message bears that time",
            "see docs/operating.md, Positions ahead of the clock",
        )


def _two_prosodys(subject: str, addresses: Sequence[tuple[str, int]]) -> Finding:
    where = " and ".join(f"{host}:{port}" for host, port in addresses)
    return fault(
        subject,
        f"several Prosodys serve it ({where}): their positions collide, and messages are lost as "
        "repeats",
        "let one Prosody serve a VirtualHost",
    )


def _stanza_limit(subject: str, limit: int) -> Finding:
    return fault(
        subject,
        f"Prosody takes stanzas of {limit:,} bytes from components: large pages cut the query "
        "component's stream",
        f"let component_stanza_size_limit be at least {MIN_STANZA_LIMIT:,}; without that option, "
        "s2s_stanza_size_limit is in force for components, too",
    )


def _version(subject: str, answer: Answer) -> Finding:
    if answer.version > VERSION:
        return fault(
            subject,
            f"mod_stanzalake writes events of version {answer.version}, this version reads "
            f"{VERSION}",
            "upgrade the services first, the module last (docs/upgrading.md)",
        )
    return fine(subject, f"mod_stanzalake is loaded and writes events of version {answer.version}")


def _key(subject: str, name: str, answer: Answer, settings: Settings) -> Finding:
    subject = f"{subject}, id key"
    if Sealer(settings.id_key_list).open(name, answer.id) == answer.position:
        return fine(subject, "what Prosody seals opens here")
    return fault(
        subject,
        "Prosody seals with a key that is not in STANZALAKE_ID_KEYS: clients cannot page by its "
        "ids",
        f'let stanzalake_id_keys of VirtualHost "{name}" equal STANZALAKE_ID_KEYS; keep both old '
        "keys in the list, behind the new one, if messages were archived under both",
    )


def _rules(subject: str, name: str, answer: Answer, settings: Settings) -> Finding:
    """Compare the module's options with the settings that decide what is archived."""
    subject = f"{subject}, policy"
    if not answer.policy:
        return warning(
            subject,
            "mod_stanzalake is too old to know it: it announces ids of messages that are not kept",
            "upgrade the module (docs/upgrading.md)",
        )
    unequal = list(_unequal(answer, settings))
    if not unequal:
        return fine(subject, "Prosody foretells it by the same rules")
    return fault(
        subject,
        f"different: {'; '.join(unequal)}: Prosody announces or drops the wrong messages",
        f"let the options of {_section(name, answer)} equal the settings, and restart Prosody",
    )


def _unequal(answer: Answer, settings: Settings) -> Iterator[str]:
    """Iterate over the names of the options that differ from their settings."""
    if answer.excluded != settings.exclusions:
        yield "stanzalake_exclude_namespaces and PROSODY_ARCHIVE_EXCLUDE_NAMESPACES"
    if answer.kind == _ROOMS:  # a room decides itself
        return
    if answer.policy != settings.policy:
        yield "stanzalake_policy and PROSODY_ARCHIVE_POLICY"
    if answer.smart != settings.smart:
        yield "stanzalake_smart and PROSODY_MAM_SMART_ENABLE"


def _journal(subject: str, answer: Answer) -> Finding:
    subject = f"{subject}, journal"
    text = f"{answer.waiting / 2**20:.1f} MiB wait for ingest, of {answer.limit / 2**20:.0f}"
    if 2 * answer.waiting > answer.limit:
        return warning(
            subject,
            text,
            "look at the ingest service and its log: once the journal is full, messages are "
            "delivered without being archived",
        )
    return fine(subject, text)


def _section(name: str, answer: Answer) -> str:
    """Return the head of a host's section in Prosody's configuration."""
    return f'Component "{name}" "muc"' if answer.kind == _ROOMS else f'VirtualHost "{name}"'
