"""Pages end to end: clients ask their Prosody, with ours behind it and with mod_mam on PostgreSQL.

All contenders hold the same messages and are asked the same questions in turn. Each round begins
with a restart of all of them, so that the first question of an owner finds nothing remembered.
Clients acknowledge what they read (XEP-0198), as those in use do.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import usage
from bench.contenders import MOD_MAM, OURS, Contender, contenders, open_sessions
from bench.corpus import Corpus, Owner
from bench.pages import percentile
from bench.questions import PAGE, ask, draw
from bench.report import Cell, Table, Target
from devstack.raw import RawSession

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

FIRST, NEXT = "first", "following"

_ROUNDS = 4
_OWNERS = 10
"""Owners of each size at most."""
_LARGE = 10_000
"""Messages of an owner from which the first question, too, is no slower than mod_mam's."""
_STEADY = 1_000
"""Messages of an owner from which the p99 is below mod_mam's."""


@dataclass
class Asked:
    """A contender with the durations and CPU time of its pages.

    Attributes:
        contender: The archive.
        seconds: Of each page, by the owner's size and by FIRST or NEXT.
        prosody: Seconds of CPU time of Prosody.
        archive: Seconds of CPU time of the archive.
    """

    contender: Contender
    seconds: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    prosody: float = 0.0
    archive: float = 0.0
    _sessions: dict[str, RawSession] = field(default_factory=dict)

    async def restart(self, users: Sequence[str]) -> None:
        """Restart the contender, and log in again."""
        for session in self._sessions.values():
            await session.close()
        await self.contender.restart()
        self._sessions = await open_sessions(self.contender.prosody, users)
        for session in self._sessions.values():
            await session.manage()

    async def ask(self, owner: Owner, markup: str, kind: str) -> None:
        """Ask a question; record its duration and CPU time."""
        prosody, archive = usage.cpu(self.contender.prosody.pid), self.contender.cpu()
        taken = await ask(self._sessions[user_of(owner)], markup)
        self.prosody += usage.cpu(self.contender.prosody.pid) - prosody
        self.archive += self.contender.cpu() - archive
        self.seconds.setdefault((owner.size, kind), []).append(taken)

    def cpu(self, seconds: float) -> float:
        """Return CPU milliseconds per page."""
        return 1000 * seconds / sum(map(len, self.seconds.values()))


async def measure(
    messages: int, seed: int, directory: Path, tree: Path | None = None, name: str = ""
) -> Table:
    """Fill all contenders, and ask them in turn.

    Args:
        messages: In all archives of a contender.
        seed: Seed of data and questions.
        directory: Parent of the contenders' directories.
        tree: Another checkout that is a contender, too.
        name: Its name in tables.
    """
    corpus = Corpus(messages, seed)
    owners = list(_sample(corpus))
    users = [user_of(owner) for owner in owners]
    asked = {k: Asked(c) for k, c in contenders(directory, tree, name).items()}
    async with AsyncExitStack() as stack:
        for one in asked.values():
            stack.push_async_callback(one.contender.stop)
            await one.contender.start(users, corpus)
        for number in range(_ROUNDS):
            for one in asked.values():
                await one.restart(users)
            await _ask(asked, owners, corpus, random.Random(seed + number))  # noqa: S311  # a seed
    return _table(asked, corpus)


def user_of(owner: Owner) -> str:
    """Return the local part of an owner's JID."""
    return owner.jid.partition("@")[0]


def _sample(corpus: Corpus) -> Iterator[Owner]:
    for size in sorted({owner.size for owner in corpus.owners}):
        yield from [owner for owner in corpus.owners if owner.size == size][:_OWNERS]


async def _ask(
    asked: dict[str, Asked], owners: Sequence[Owner], corpus: Corpus, chance: random.Random
) -> None:
    for owner in chance.sample(owners, len(owners)):
        position = chance.choice(corpus.positions(owner))
        for place, question in enumerate(draw(owner, position, chance)):
            for one in asked.values():
                markup = question.markup(
                    lambda at: one.contender.seal(owner.jid, at)  # noqa: B023  # used at once
                )
                await one.ask(owner, markup, NEXT if place else FIRST)


def _table(asked: dict[str, Asked], corpus: Corpus) -> Table:
    sizes = sorted({size for size, _ in asked[OURS].seconds})
    return Table(
        part="mam",
        title=f"Pages of {PAGE} messages end to end",
        load=f"{corpus.messages:,} messages of {len(corpus.owners):,} owners, pages with counts, "
        f"acknowledged (XEP-0198), "
        f"{_ROUNDS} rounds with a restart of all before each; seed {corpus.seed}",
        columns=(
            *("archive", "first p50 ms", "first p99 ms", "following p50 ms", "following p99 ms"),
            *("Prosody's CPU ms", "archive's CPU ms"),
        ),
        rows=[_row(name, one, size) for size in sizes for name, one in asked.items()],
        drawn=("first p50 ms", "following p50 ms"),
        targets=[target for size in sizes for target in _targets(asked, size)] + _costs(asked),
    )


def _row(name: str, one: Asked, size: int) -> list[Cell]:
    first, following = one.seconds[size, FIRST], one.seconds[size, NEXT]
    times = [percentile(s, share) for s in (first, following) for share in (0.5, 0.99)]
    return [f"{name}, {size:,} messages", *times, one.cpu(one.prosody), one.cpu(one.archive)]


def _targets(asked: dict[str, Asked], size: int) -> Iterator[Target]:
    ours, theirs = asked[OURS].seconds, asked[MOD_MAM].seconds
    for kind, wanted in ((FIRST, 1.0 if size >= _LARGE else 2.0), (NEXT, 1.0)):
        ratio = median(ours[size, kind]) / median(theirs[size, kind])
        what = f"times mod_mam's p50 of {kind} questions, {size:,} messages of an owner"
        yield Target(what, ratio, wanted, least=False)
    if size >= _STEADY:
        p99, mam = (percentile(s[size, FIRST] + s[size, NEXT], 0.99) for s in (ours, theirs))
        what = f"times mod_mam's p99, {size:,} messages of an owner"
        yield Target(what, p99 / mam, 1.0, least=False)


def _costs(asked: dict[str, Asked]) -> list[Target]:
    ours, theirs = asked[OURS], asked[MOD_MAM]
    ratio = ours.cpu(ours.prosody) / theirs.cpu(theirs.prosody)
    return [Target("times mod_mam's CPU time of Prosody for a page", ratio, 0.6, least=False)]
