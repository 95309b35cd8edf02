"""Full-text searches of one owner's archive, without an index and with ClickHouse's text index."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from bench import pages
from bench.corpus import Corpus
from bench.load import bodies
from bench.report import Cell, Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.model.full_text import parse
from stanzalake.model.page import Archive, Selection
from stanzalake.model.position import MAX_POSITION, Sealer
from stanzalake.model.retention import FOREVER
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.full_text import FOLDED_BODY
from stanzalake.store.statement import select

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

_ROUNDS = 3
_PAGE = 50
_CHUNK = 50_000
_TEXTS = 20_000
_CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувшэзю")
_EXPRESSION = FOLDED_BODY.rpartition(" AS ")[0]
_INDEX = f"ADD INDEX words ({_EXPRESSION}) TYPE text(tokenizer = splitByNonAlpha)"
_TOKEN = f"hasToken({_EXPRESSION}, {{word:String}})"

Script = Mapping[int, int]


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Search archives whose bodies are ASCII, and archives whose bodies are not."""
    corpus = Corpus(messages, seed, owner_size=messages)
    rows = await _rows(corpus, "Latin", {}, directory / "latin")
    rows += await _rows(corpus, "Cyrillic", _CYRILLIC, directory / "cyrillic")
    slowest = max(float(row[2]) for row in rows if "page" in str(row[0]))
    return Table(
        part="search",
        title=f"Full-text search in an archive of {messages:,} messages",
        load=f"one owner, a year, merged; medians of {_ROUNDS}; seed {seed}",
        columns=("statement", "found", "ms", "bytes a message"),
        rows=rows,
        drawn=("ms",),
        targets=[Target("ms for the slowest page", slowest, 2000, least=False)],
    )


async def _rows(corpus: Corpus, name: str, script: Script, directory: Path) -> list[list[Cell]]:
    given = settings.load(pages.archive(directory).settings)
    store = await asyncio.to_thread(_fill, given, corpus, script)
    reader = ArchiveReader(store, Sealer(given.id_key_list), FOREVER)
    archive = reader.archive(corpus.owners[0].jid)
    rows: list[list[Cell]] = []
    for kind, word in _words(corpus):
        written, size = word.translate(script), store.size() / corpus.messages
        for what, read in _reads(archive, written):
            found, seconds = await _timed(read)
            rows.append([f"{name}, {kind}: {what}", found, 1000 * seconds, size])
    await asyncio.to_thread(_index, store)
    for kind, word in _words(corpus):
        found, seconds = await _timed(partial(_indexed, store, word.translate(script)))
        size = store.size() / corpus.messages
        rows.append([f"{name}, {kind}: count with an index", found, 1000 * seconds, size])
    await reader.close()
    store.close()
    return rows


def _fill(given: Settings, corpus: Corpus, script: Script) -> Store:
    store = Store.of(given)
    migrations.apply(store, given)
    for rows in corpus.chunks(_CHUNK):
        store.insert([_written(row, script) for row in rows])
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")
    return store


def _written(row: Row, script: Script) -> Row:
    begin, tag, rest = row.stanza.partition("<body>")
    body, end, after = rest.partition("</body>")
    return row._replace(stanza="".join((begin, tag, body.translate(script), end, after)))


def _words(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Yield a word of many messages, of few, and of none."""
    texts = bodies(min(corpus.messages, _TEXTS), corpus.seed)
    counts = Counter(word for text in texts for word in text.split()).most_common()
    yield "common word", counts[0][0]
    yield "rare word", counts[-1][0]
    yield "no match", "zyzzyva"


def _reads(archive: Archive, word: str) -> Iterator[tuple[str, Callable[[], Awaitable[int]]]]:
    selection = Selection(text=parse(word))

    async def page() -> int:
        return len((await archive.read(selection, _PAGE, backward=True)).items)

    async def count() -> int:
        counted = await archive.count(selection, MAX_POSITION)
        return -1 if counted is None else counted[0]

    yield "page", page
    yield "count", count


def _index(store: Store) -> None:
    store.command(f"ALTER TABLE {store.table} {_INDEX}")
    store.command(f"ALTER TABLE {store.table} MATERIALIZE INDEX words SETTINGS mutations_sync = 2")


async def _indexed(store: Store, word: str) -> int:
    statement = select("count()", [_TOKEN], "SETTINGS max_threads = 1")
    [(found,)] = await asyncio.to_thread(store.select, statement, {"word": word})
    return int(found)


async def _timed(read: Callable[[], Awaitable[int]]) -> tuple[int, float]:
    """Return a read's result, and the median of its seconds."""
    seconds, found = [], 0
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        found = await read()
        seconds.append(time.perf_counter() - start)
    return found, median(seconds)
