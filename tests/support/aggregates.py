"""The analysts' views over computed days, and how to have days computed in a test."""

from datetime import date

from stanzalake.model.retention import FOREVER
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Store

VIEWS = {
    "daily": "day, host, kind, direction, messages",
    "active": "day, host, owners, writers",
    "pairs": "day, sender, recipient, messages",
    "answers": "day, host, responder, answers, p50, p90, p99",
    "rooms": "day, host, room, messages, writers",
    "owners": "day, host, owner_hash, sent, received",
    "contents": "day, host, local_hour, kind, direction, encrypted, at_least, messages",
    "response_times": "day, host, responder, seconds, answers",
    "servers": "day, host, peer_host, owner_hash, sent, received",
    "occupants": "day, host, room, occupant_hash, messages",
    "monthly_owners": "month, host, owner_hash, sent, received",
    "monthly_conversations": "month, one, other, messages",
    "monthly_senders": "month, sender, messages, recipients, answered_by",
}
"""The columns of each view but `as_of`."""


def now_of(store: Store) -> int:
    """Give the unix time in seconds by the clock of the store."""
    [(now,)] = store.select("SELECT toUnixTimestamp(now())")
    return int(now)


def age(store: Store) -> None:
    """Let two hours pass, as far as the store records moments."""
    for suffix in ("touched", "computed", "computed_months", *(f"{view}_rows" for view in VIEWS)):
        name = f"{store.table}_{suffix}"
        if not store.select(f"SELECT 1 FROM {name} LIMIT 1"):
            continue
        [(columns,)] = store.select(
            "SELECT groupArray(name) FROM system.columns WHERE table = {name:String}",
            {"name": name},
        )
        moments = {"at", "as_of", "effective"}.intersection(columns)
        aged = ", ".join(f"{moment} - INTERVAL 2 HOUR AS {moment}" for moment in moments)
        store.command(f"CREATE TABLE {name}_aged AS {name}")
        store.command(f"INSERT INTO {name}_aged SELECT * REPLACE ({aged}) FROM {name}")
        store.command(f"EXCHANGE TABLES {name} AND {name}_aged")
        store.command(f"DROP TABLE {name}_aged")


def compute(store: Store) -> list[date]:
    """Compute the days that are due, and let time pass until views read them."""
    found = Aggregates(store, "", FOREVER)
    days = list(found.due(now_of(store)))
    for batch in found.batches(days):
        found.compute(batch)
    age(store)
    return days


def compute_months(store: Store) -> list[date]:
    """Compute the months that are due, and let time pass until views read them."""
    found = Aggregates(store, "", FOREVER)
    months = list(found.due_months())
    for month in months:
        found.compute_month(month)
    age(store)
    return months
