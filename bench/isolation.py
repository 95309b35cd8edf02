"""Isolation: what others feel of one account's flood, large pages and erasure.

One contender runs at a time; its quiet and its loaded phases take turns. The erasure is ours only:
mod_mam has none for an operator.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from bench import flood, holds, traffic
from bench.contenders import MOD_MAM, OURS, Contender, Ours, contenders, open_sessions
from bench.corpus import HOST, Corpus, Owner
from bench.flood import Flood
from bench.holds import Hold
from bench.pages import percentile
from bench.questions import PAGE
from bench.report import Cell, Table, Target
from bench.traffic import Felt, Traffic, run_command
from devstack.raw import RawSession
from stanzalake.config import settings
from stanzalake.store.client import Store

SIZES = {"quick": 6_000, "usual": 1_000_000, "full": 10_000_000}
"""Messages in all archives: a reader's, the flooding account's, and those that are erased."""

_ROUNDS = 2
_ERASURES = 8
"""Of an archive each; the p99 of the pages beside two is that of the one or two slowest."""
_PAIRS = 10
_OLD_PARTS_SECONDS = 1
"""Of replaced parts on the disk; a minute by default, in which nothing happens."""
_NOBODY = f"nobody@{HOST}"


@dataclass(frozen=True)
class Scale:
    """Durations and numbers of a size.

    Attributes:
        rounds: Number of quiet and flooded phases.
        erasures: Number of erasures, each behind a quiet phase.
        quiet: Seconds of a phase without load.
        loaded: Seconds of a flood.
        messages: Messages in a large page.
        pages: Large pages of each kind.
    """

    rounds: int
    erasures: int
    quiet: float
    loaded: float
    messages: int
    pages: int


_USUAL, _QUICK = Scale(_ROUNDS, _ERASURES, 8.0, 10.0, holds.PAGE, 20), Scale(1, 1, 1.0, 1.0, 25, 2)


@dataclass
class Erasing:
    """Result of erasures.

    Attributes:
        returned: Seconds of each `delete`.
        cleaned: Seconds until the bytes were off the disk, from then on.
        nothing: Seconds of `delete --wait` of an archive without messages.
        quiet: What others felt without an erasure.
        idle: What others felt while the same commands found nothing to erase.
        loaded: What others felt during an erasure.
    """

    returned: list[float] = field(default_factory=list)
    cleaned: list[float] = field(default_factory=list)
    nothing: float = 0.0
    quiet: Felt = field(default_factory=Felt)
    idle: Felt = field(default_factory=Felt)
    loaded: Felt = field(default_factory=Felt)


@dataclass
class Figures:
    """Figures of a contender.

    Attributes:
        quiet: Seconds of a page without a flood.
        flooded: Seconds of a page during one.
        holds: Longest holds of Prosody's loop by large pages, by their content.
        erasing: Result of erasures, if there were any.
    """

    quiet: list[float] = field(default_factory=list)
    flooded: list[float] = field(default_factory=list)
    holds: dict[str, list[Hold]] = field(default_factory=dict)
    erasing: Erasing | None = None


@dataclass(frozen=True)
class Stage:
    """A running contender with its accounts.

    Attributes:
        contender: The archive.
        corpus: The messages in it.
        scale: Durations and numbers.
        sessions: Sessions by user.
    """

    contender: Contender
    corpus: Corpus
    scale: Scale
    sessions: dict[str, RawSession]

    @property
    def reader(self) -> Owner:
        """Who reads one page after the other."""
        return self.corpus.owners[0]

    @property
    def flooder(self) -> Owner:
        """Who floods."""
        return self.corpus.owners[1]

    @property
    def erased(self) -> Sequence[Owner]:
        """Whose archives are erased."""
        return self.corpus.owners[2 : 2 + self.scale.erasures]


_TALKERS = [f"talker{n}" for n in range(2 * _PAIRS)]
_LARGE = [f"large{n}" for n in range(len(holds.CONTENTS))]
_OTHERS = (*_TALKERS, *_LARGE, "probe")


async def measure(
    messages: int, seed: int, directory: Path, tree: Path | None = None, name: str = ""
) -> Table:
    """Run all contenders in turn.

    Args:
        messages: In all archives of a contender.
        seed: Seed of the load.
        directory: Parent of the contenders' directories.
        tree: Another checkout that is a contender, too.
        name: Its name in tables.
    """
    corpus = Corpus(messages, seed, owner_size=messages // (2 + _ERASURES))
    scale = _QUICK if messages <= SIZES["quick"] else _USUAL
    figures: dict[str, Figures] = {}
    for kind, contender in contenders(directory, tree, name).items():
        async with _running(contender, corpus, scale) as stage:
            figures[kind] = await _run(stage)
    return _table(figures, corpus)


@asynccontextmanager
async def _running(contender: Contender, corpus: Corpus, scale: Scale) -> AsyncIterator[Stage]:
    users = [*_OTHERS, *(_user(owner) for owner in corpus.owners)]
    holds.add_probe(contender)
    try:
        await contender.start(users, corpus)
        sessions = await open_sessions(contender.prosody, [*_OTHERS, _user(corpus.owners[0])])
        yield Stage(contender, corpus, scale, sessions)
    finally:
        await contender.stop()


async def _run(stage: Stage) -> Figures:
    figures = Figures()
    for _ in range(stage.scale.rounds):
        await _flood(stage, figures)
    await _hold(stage, figures)
    if isinstance(stage.contender, Ours):
        figures.erasing = await _erase(stage, stage.contender)
    return figures


async def _flood(stage: Stage, figures: Figures) -> None:
    reader = stage.sessions[_user(stage.reader)]
    queries = flood.questions(stage.contender, stage.corpus, stage.reader, PAGE)
    await flood.read(reader, queries, 0)
    figures.quiet += await flood.read(reader, queries, stage.scale.quiet)
    one = Flood(stage.contender, stage.corpus, stage.flooder)
    async with one.running():
        await flood.read(reader, queries, 0)
        figures.flooded += await flood.read(reader, queries, stage.scale.loaded)
    await flood.read(reader, queries, 0)


async def _hold(stage: Stage, figures: Figures) -> None:
    readers = [stage.sessions[user] for user in _LARGE]
    await holds.fill(stage.sessions[_TALKERS[0]], readers, stage.scale.messages)
    for kind, reader in zip(holds.CONTENTS, readers, strict=True):
        figures.holds[kind] = await holds.measure(
            stage.sessions["probe"], reader, stage.scale.pages
        )


async def _erase(stage: Stage, ours: Ours) -> Erasing:
    _shorten_lifetime(ours)
    talkers = [stage.sessions[user] for user in _TALKERS]
    live = Traffic(talkers[:_PAIRS], talkers[_PAIRS:], ours.settings, stage.corpus.seed)
    erasing = Erasing()
    async with live.running(Felt()):
        await asyncio.sleep(stage.scale.quiet)
    for owner in stage.erased:
        async with live.running(erasing.quiet):
            await asyncio.sleep(stage.scale.quiet)
        async with live.running(erasing.idle):
            await _erase_one(ours, _NOBODY)
        async with live.running(erasing.loaded):
            returned, cleaned = await _erase_one(ours, owner.jid)
        erasing.returned.append(returned)
        erasing.cleaned.append(cleaned)
    async with live.running(Felt()):
        erasing.nothing = await run_command(ours.settings, "delete", _NOBODY, "--yes", "--wait")
    return erasing


async def _erase_one(ours: Ours, jid: str) -> tuple[float, float]:
    """Erase an archive, and remove its bytes; return the seconds of both commands."""
    returned = await run_command(ours.settings, "delete", jid, "--yes")
    return returned, await run_command(ours.settings, "expire", "--yes", "--wait")


def _shorten_lifetime(ours: Ours) -> None:
    store = Store.for_admin(settings.load(ours.settings))
    store.command(
        f"ALTER TABLE {store.table} MODIFY SETTING old_parts_lifetime = {_OLD_PARTS_SECONDS}"
    )
    store.close()


def _user(owner: Owner) -> str:
    return owner.jid.partition("@")[0]


def _table(figures: dict[str, Figures], corpus: Corpus) -> Table:
    ours = figures[OURS]
    rows = [row for kind, those in figures.items() for row in _rows(kind, those)]
    targets = [*_flood_targets(ours), *_hold_targets(ours, figures[MOD_MAM])]
    if ours.erasing is not None:
        targets += _erasure_targets(ours.erasing, corpus.owner_size)
    return Table(
        part="isolation",
        title="What others feel of one account's load",
        load=f"archives of {corpus.owner_size:,} messages; a flood of {flood.SESSIONS} sessions "
        f"with {flood.QUERIES} queries each on their way, pages of {flood.LARGEST}; holds of "
        f"Prosody's loop by pages of {holds.PAGE} messages of {holds.BYTES / 1024:g} KiB; erasures "
        f"beside {_PAIRS} pairs with {traffic.RATE:g} messages a second each and "
        f"{traffic.PAGES:g} last pages a second; {_ROUNDS} alternating runs, {_ERASURES} erasures, "
        f"seed {corpus.seed}",
        columns=(
            *("load", "page p50 ms", "page p99 ms", "lag p50 ms", "lag p99 ms"),
            *("delivery p99 ms", "hold p50 ms", "hold p99 ms", "longest hold ms", "its CPU ms"),
        ),
        rows=rows,
        drawn=("page p50 ms", "page p99 ms", "lag p99 ms", "longest hold ms"),
        targets=targets,
    )


def _rows(kind: str, figures: Figures) -> list[list[Cell]]:
    empty: list[Cell] = [""]
    rows: list[list[Cell]] = [
        [f"{kind}, no flood", *_shares(figures.quiet), *empty * 7],
        [f"{kind}, a flood", *_shares(figures.flooded), *empty * 7],
    ]
    for content, found in figures.holds.items():
        walls = [hold.wall for hold in found]
        cpu = 1000 * max(hold.cpu for hold in found)
        cells = [*_shares(walls), 1000 * max(walls), cpu]
        rows.append([f"{kind}, large pages of {content}", *empty * 5, *cells])
    if figures.erasing is not None:
        erasing = figures.erasing
        for name, felt in (
            ("no erasure", erasing.quiet),
            ("an erasure of nothing", erasing.idle),
            ("an erasure", erasing.loaded),
        ):
            delivery = percentile(felt.deliveries, 0.99)
            cells = [*_shares(felt.pages), *_shares(felt.lags), delivery]
            rows.append([f"{kind}, {name}", *cells, *empty * 4])
    return rows


def _shares(seconds: Sequence[float]) -> list[float]:
    return [percentile(seconds, 0.5), percentile(seconds, 0.99)]


def _flood_targets(ours: Figures) -> list[Target]:
    mean = fmean(ours.flooded) / fmean(ours.quiet)
    p99 = percentile(ours.flooded, 0.99) / percentile(ours.quiet, 0.99)
    return [
        Target("times the usual time of a page beside a flood", mean, 3, least=False),
        Target("times the usual p99 of a page beside a flood", p99, 3, least=False),
    ]


def _hold_targets(ours: Figures, theirs: Figures) -> list[Target]:
    targets = list[Target]()
    for content, found in ours.holds.items():
        own, other = (
            percentile([hold.wall for hold in those], 0.5)
            for those in (found, theirs.holds[content])
        )
        cpu = 1000 * max(hold.cpu for hold in found)
        pages = f"a large page of {content}"
        targets += [
            Target(f"ms of CPU of the longest hold of Prosody by {pages}", cpu, 10, least=False),
            Target(f"times mod_mam's hold by {pages}", own / other, 0.1, least=False),
        ]
    return targets


def _erasure_targets(erasing: Erasing, size: int) -> list[Target]:
    """Return the targets of erasures.

    The p99 of pages is also compared with that beside the same commands without anything to erase:
    on two processors the start of any command is felt in a page of a hundred.
    """
    quiet, idle, loaded = erasing.quiet, erasing.idle, erasing.loaded
    ratios = {
        f"times the usual {share} of {name} beside an erasure": there / here
        for name, without, during in (
            ("others' lag", quiet.lags, loaded.lags),
            ("others' pages", quiet.pages, loaded.pages),
        )
        for share, here, there in zip(
            ("p50", "p99"), _shares(without), _shares(during), strict=True
        )
    }
    pages = percentile(loaded.pages, 0.99) / percentile(idle.pages, 0.99)
    ratios["times the p99 of others' pages beside an erasure of nothing"] = pages
    return [
        Target(f"s of `delete` of {size:,} messages", max(erasing.returned), 2, least=False),
        Target("s of `delete --wait` of none", erasing.nothing, 2, least=False),
        *(Target(what, ratio, 1.5, least=False) for what, ratio in ratios.items()),
        Target("others' pages that might lack a message", loaded.unstable, 0, least=False),
    ]
