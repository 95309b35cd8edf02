"""Cost of a room's archive for Prosody: ours, beside no archive and mod_muc_mam on PostgreSQL.

The occupants' accounts have archives as well, which look at each copy of a message: mod_mam's
beside mod_muc_mam.

One occupant speaks to all, as fast as they hear it. All contenders run in turn, several times, and
the table shows medians: messages per second, Prosody's CPU time (utime + stime), latency from the
speaker to each occupant.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import astuple, dataclass
from pathlib import Path

from bench import accounts, load, usage
from bench.report import Cell, Table, Target
from bench.tap import MOD_MAM, Durable
from devstack.deployment import HOST, Deployment
from devstack.ports import free_port
from devstack.prosody import Prosody
from devstack.raw import RawSession
from stanzalake.log.base import EVENTS
from stanzalake.log.sqlite_file import LogFile

SIZES = {"quick": 100, "usual": 1_000, "full": 20_000}

NONE, OURS, MUC_MAM = "no archive", "mod_stanzalake", "mod_mam, mod_muc_mam, PostgreSQL"

_OCCUPANTS = 100
_QUICK_OCCUPANTS = 10
_RUNS = 3
_WINDOW = 4
"""Messages that are on their way at most."""
_WARM = 20
_SHIPPED = 60.0
_ROOMS = f"rooms.{HOST}"
_ROOM = f"hall@{_ROOMS}"
_MUC = "http://jabber.org/protocol/muc"


@dataclass
class Figures:
    """Figures of a run, or medians of several runs.

    Attributes:
        rate: Messages per second.
        cpu: Prosody's CPU time per message, in microseconds.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
        events: Events in the log per message; 0 without one.
        memory: MiB of Prosody at most.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    events: float
    memory: float


class _Slots:
    """Lets a message be sent for each one that all occupants have received.

    Args:
        occupants: Number of occupants.
    """

    def __init__(self, occupants: int) -> None:
        self._occupants = occupants
        self._received = 0
        self._free = asyncio.Semaphore(_WINDOW)

    def release(self) -> None:
        """Count a message that an occupant received."""
        self._received += 1
        if self._received % self._occupants == 0:
            self._free.release()

    async def acquire(self) -> None:
        """Wait until another message may be sent."""
        await self._free.acquire()


@asynccontextmanager
async def _running(
    kind: str, directory: Path, users: Sequence[str]
) -> AsyncIterator[tuple[Prosody, Path | None]]:
    """Run a contender; yield its Prosody and the file of its log, if it has one."""
    async with AsyncExitStack() as stack:
        if kind == OURS:
            settings = {"STANZALAKE_HOSTS": f"{HOST},{_ROOMS}"}
            deployment = Deployment(directory, settings=settings)
            key = deployment.settings["STANZALAKE_ID_KEYS"]
            section = _component("stanzalake", f'stanzalake_id_keys = "{key}"\n')
            deployment.prosody.extra_host = accounts.PLAIN + section
            accounts.register(deployment.prosody, users)
            stack.push_async_callback(deployment.stop)
            await deployment.start()
            yield (
                deployment.prosody,
                Path(deployment.settings["STANZALAKE_DATA_DIR"]) / "log.sqlite",
            )
            return
        prosody = Prosody(
            directory=directory,
            client_port=free_port(),
            component_port=free_port(),
            modules=("mam",) if kind == MUC_MAM else (),
            extra_host=accounts.PLAIN + await _section(kind, stack),
        )
        accounts.register(prosody, users)
        stack.push_async_callback(prosody.stop)
        await prosody.start()
        yield prosody, None


async def _section(kind: str, stack: AsyncExitStack) -> str:
    if kind == NONE:
        return _component("", "")
    database = Durable()
    stack.push_async_callback(database.stop)
    await database.start()
    section = _component("muc_mam", 'storage = { muc_log = "sql" }\n' + database.prosody)
    return MOD_MAM + database.prosody + section


def _component(module: str, options: str) -> str:
    modules = f'modules_enabled = {{ "{module}" }}\n' if module else ""
    return f'Component "{_ROOMS}" "muc"\n{modules}muc_room_locking = false\n{options}'


async def run(kind: str, occupants: int, texts: Sequence[str], directory: Path) -> Figures:
    """Run one contender once."""
    users = [f"user{n}" for n in range(occupants)]
    async with _running(kind, directory, users) as (prosody, log):
        sessions = [RawSession(user, user, HOST, prosody.client_port) for user in users]
        for session, nick in zip(sessions, users, strict=True):
            await session.open()
            await _join(session, nick)
        await _talk(sessions, ["warm"] * _WARM)
        events, cpu = await _events(sessions, log, "begin"), usage.cpu(prosody.pid)
        result = await _talk(sessions, texts)
        cpu = usage.cpu(prosody.pid) - cpu
        events = await _events(sessions, log, "end") - events
        await asyncio.gather(*(session.close() for session in sessions))
        return Figures(
            rate=len(texts) / result.seconds,
            cpu=1e6 * cpu / len(texts),
            p50=1e3 * result.latency(0.5),
            p99=1e3 * result.latency(0.99),
            events=events / (len(texts) + 1),
            memory=usage.peak(prosody.pid),
        )


async def _join(session: RawSession, nick: str) -> None:
    """Enter the room, up to the subject, which is the last of what it tells."""
    session.write(f"<presence to='{_ROOM}/{nick}'><x xmlns='{_MUC}'/></presence>")
    told = b""
    while b"<subject" not in told:
        data = await session.reader.read(1 << 16)
        if not data:
            raise ConnectionError("Prosody closed a client's stream")
        told = told[-20:] + data


async def _talk(sessions: Sequence[RawSession], texts: Sequence[str]) -> load.Result:
    sent, result, slots = [0.0] * len(texts), load.Result(0.0), _Slots(len(sessions))
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(load.receive(session, len(texts), sent, result, slots))
        for number, text in enumerate(texts):
            await slots.acquire()
            sent[number] = time.perf_counter()
            sessions[0].write(
                f"<message to='{_ROOM}' type='groupchat' id='{number}'>"
                f"<body>{text}</body></message>"
            )
            await sessions[0].writer.drain()
    result.seconds = time.perf_counter() - start
    result.latencies.sort()
    return result


async def _events(sessions: Sequence[RawSession], log: Path | None, mark: str) -> int:
    """Say a last word, and return the number of events in the log once it has arrived there.

    Raises:
        TimeoutError: It did not arrive within a minute.
    """
    await _talk(sessions, [mark])
    if log is None:
        return 0
    with closing(LogFile(log)) as file:
        async with asyncio.timeout(_SHIPPED):
            while not _is_last(file, f"<body>{mark}</body>"):  # noqa: ASYNC110  # another process's file
                await asyncio.sleep(0.05)
        return file.last(EVENTS) + 1


def _is_last(file: LogFile, text: str) -> bool:
    records = file.read(EVENTS, max(0, file.last(EVENTS)), 1)
    return any(text.encode() in record.value for record in records)


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Run all contenders in turn, and compare their medians."""
    texts = load.bodies(messages, seed)
    is_quick = messages <= SIZES["quick"]
    occupants, runs = (_QUICK_OCCUPANTS, 1) if is_quick else (_OCCUPANTS, _RUNS)
    figures: dict[str, list[Figures]] = {NONE: [], OURS: [], MUC_MAM: []}
    for number in range(runs):
        for kind, those in figures.items():
            those.append(await run(kind, occupants, texts, directory / f"{kind} {number}"))
    medians = {kind: _median(those) for kind, those in figures.items()}
    return Table(
        part="rooms",
        title=f"What an archive costs a room of {occupants} occupants",
        load=f"{messages:,} messages of one occupant, {_WINDOW} on their way at most; medians of "
        f"{runs} alternating runs, seed {seed}, {os.cpu_count()} cores for all processes",
        columns=(
            *("archive", "messages/s", "CPU µs/message", "added", "p50 ms", "p99 ms"),
            "events/message",
        ),
        rows=[_row(kind, figures, medians[NONE]) for kind, figures in medians.items()],
        drawn=("CPU µs/message",),
        targets=_targets(medians, occupants),
        memory={f"Prosody, {kind}": those.memory for kind, those in medians.items()},
    )


def _median(runs: Sequence[Figures]) -> Figures:
    columns = zip(*map(astuple, runs), strict=True)
    return Figures(*(statistics.median(column) for column in columns))


def _row(kind: str, figures: Figures, none: Figures) -> list[Cell]:
    added = figures.cpu - none.cpu
    return [kind, figures.rate, figures.cpu, added, figures.p50, figures.p99, figures.events]


def _targets(medians: dict[str, Figures], occupants: int) -> list[Target]:
    ours, theirs = medians[OURS], medians[MUC_MAM]
    return [
        Target(f"events for a message to {occupants} occupants", ours.events, 1, least=False),
        Target("times mod_muc_mam's CPU time of Prosody", ours.cpu / theirs.cpu, 1, least=False),
        Target("times mod_muc_mam's p99 of delivery", ours.p99 / theirs.p99, 1, least=False),
    ]
