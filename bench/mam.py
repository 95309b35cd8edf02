"""Pages end to end: a client asks its Prosody, with ours behind it and with mod_mam on PostgreSQL.

Both hold the same messages, and are asked the same questions in turn, one after the other.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import pages, rival, usage
from bench.corpus import HOST, Corpus, Owner
from bench.load import Session
from bench.pages import percentile
from bench.questions import PAGE, ask, draw
from bench.report import Cell, Table, Target
from bench.rival import OnPostgres
from devstack.deployment import Deployment
from devstack.prosody import Prosody
from stanzalake.config import settings
from stanzalake.model.position import Sealer
from stanzalake.store.client import Store

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

_OURS = "ours"
_ROUNDS = 25
_EQUAL = 10_000
"""Messages of an owner from which we are no slower; with ten times as many we are faster."""


class Asked(NamedTuple):
    """Whom a question is put to.

    Attributes:
        sessions: One of each owner.
        seal: Gives the id of an owner's message at a position.
    """

    sessions: dict[Owner, Session]
    seal: Callable[[Owner, int], str]


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Fill both, and ask both."""
    corpus = Corpus(messages, seed)
    chance = random.Random(seed)  # noqa: S311  # a seed repeats the questions
    owners = pages.sample(corpus, chance)
    deployment = Deployment(directory / "ours", settings={"PROSODY_ARCHIVE_EXPIRES_AFTER": "never"})
    theirs = OnPostgres(directory / "postgres")
    async with AsyncExitStack() as stack:
        positions = await asyncio.to_thread(_fill, deployment, corpus, owners)
        stack.push_async_callback(deployment.stop)
        deployment.prosody.write_config()
        for owner in owners:
            await deployment.prosody.register(_user(owner), _user(owner))
        await deployment.start()
        stack.push_async_callback(theirs.stop)
        await theirs.prepare([_user(owner) for owner in owners])
        await asyncio.to_thread(theirs.fill, corpus.rows())
        sealer = Sealer(settings.load(deployment.settings).id_key_list)
        contenders = {
            _OURS: Asked(
                await _sessions(deployment.prosody, owners),
                lambda owner, position: sealer.seal(owner.jid, position),
            ),
            theirs.name: Asked(
                await _sessions(theirs.prosody, owners), lambda _, position: rival.key(position)
            ),
        }
        seconds = await _ask(contenders, positions, chance)
        memory = {"up": usage.peak(next(iter(deployment.services.values())).pid)}
    return _table(seconds, corpus, owners, memory)


def _fill(
    deployment: Deployment, corpus: Corpus, owners: Sequence[Owner]
) -> dict[Owner, list[int]]:
    """Fill ours, and give the positions of the owners' messages."""
    given = settings.load(deployment.settings)
    pages.fill(given, corpus)
    store = Store.of(given)
    positions = {
        owner: [
            row[0]
            for row in store.select(
                f"SELECT position FROM {store.table} WHERE owner = {{owner:String}}",  # noqa: S608  # an identifier
                {"owner": owner.jid},
            )
        ]
        for owner in owners
    }
    store.close()
    return positions


async def _sessions(prosody: Prosody, owners: Sequence[Owner]) -> dict[Owner, Session]:
    sessions = {
        owner: Session(_user(owner), _user(owner), HOST, prosody.client_port) for owner in owners
    }
    for session in sessions.values():
        await session.open()
    return sessions


async def _ask(
    contenders: dict[str, Asked], positions: dict[Owner, list[int]], chance: random.Random
) -> dict[tuple[str, Owner], list[float]]:
    seconds: dict[tuple[str, Owner], list[float]] = {}
    for _ in range(_ROUNDS):
        for owner, places in positions.items():
            for question in draw(owner, chance.choice(places), chance):
                for name, (sessions, seal) in contenders.items():
                    markup = question.markup(lambda position: seal(owner, position))  # noqa: B023  # used at once
                    taken = await ask(sessions[owner], markup)
                    seconds.setdefault((name, owner), []).append(taken)
    return seconds


def _table(
    seconds: dict[tuple[str, Owner], list[float]],
    corpus: Corpus,
    owners: Sequence[Owner],
    memory: dict[str, float],
) -> Table:
    rows: list[list[Cell]] = []
    ratios: dict[int, float] = {}
    for owner in owners:
        ours, theirs = seconds[_OURS, owner], seconds[OnPostgres.name, owner]
        ratios[owner.size] = median(ours) / median(theirs)
        cells = [percentile(s, share) for s in (ours, theirs) for share in (0.5, 0.99)]
        rows.append([f"{owner.size:,} messages", *cells, ratios[owner.size]])
    targets = [
        Target(f"times mod_mam's p50, {size:,} messages of an owner", ratio, 1.0, least=False)
        for size, ratio in ratios.items()
        if size >= _EQUAL
    ]
    return Table(
        part="mam",
        title=f"Pages of {PAGE} messages end to end, and mod_mam's on PostgreSQL",
        load=f"{corpus.messages:,} messages of {len(corpus.owners):,} owners, both with counts; "
        f"seed {corpus.seed}",
        columns=("archive", "p50 ms", "p99 ms", "mod_mam p50 ms", "mod_mam p99 ms", "p50 ratio"),
        rows=rows,
        drawn=("p50 ms", "mod_mam p50 ms"),
        targets=targets,
        memory=memory,
    )


def _user(owner: Owner) -> str:
    return owner.jid.partition("@")[0]
