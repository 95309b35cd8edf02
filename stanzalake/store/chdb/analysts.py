"""Read-only access of analysts to the embedded engine, over ClickHouse's HTTP interface.

A single user, who reads the views without texts, within bounds. Every connection to the engine is
of the same user, so an analyst's has a role of its own, and runs nothing but a single query that
cannot change roles, settings or files: the engine's own formatter reads the statement, and its
output is run.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from stanzalake.observability.listening import listen
from stanzalake.store.chdb import http
from stanzalake.store.chdb.analyst_grants import USER
from stanzalake.store.chdb.engine import Engine, Result, Statement, assign
from stanzalake.store.chdb.sharing import LIMITS
from stanzalake.store.statement import literal

log = logging.getLogger(__name__)

MAX_STATEMENT = 64 * 1024
"""Bytes of a statement at most."""
_THREADS = 2
"""Statements of all analysts at a time."""
MAX_SECONDS = 300
"""Seconds of a statement at most."""
MAX_ROWS = 10_000_000
"""Rows of a result at most."""
_BOUNDS = {**LIMITS, "max_execution_time": MAX_SECONDS, "max_result_rows": MAX_ROWS}
_LOWERED = frozenset({"max_execution_time", "max_result_rows", "max_threads"})
"""Bounds that a request may lower."""
_FREE = frozenset(
    {
        "async_insert",
        "extremes",
        "result_overflow_mode",
        "session_timezone",
        "wait_for_async_insert",
    }
)
"""Other settings that drivers send."""

_QUERY = re.compile(rb"\(*(SELECT|WITH|DESCRIBE|EXISTS|SHOW (TABLES|DATABASES|COLUMNS|CREATE))\b")
# Strings, and quoted identifiers, which may have the quotes of strings in them.
_QUOTED = re.compile(
    rb"""'(?:[^'\\]|\\.)*'|(`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")""",
    re.DOTALL,
)
# Functions that no grant covers and that read files, tables or other servers, or run a string.
_FORBIDDEN = re.compile(
    rb"\bINTO\s+OUTFILE\b|:\s*Identifier\s*}"
    rb"|\b(?:file|filesystem|eval|viewExplain|executable|python|joinGet\w*|dictGet\w*|mergeTree\w+"
    rb"|ai(?:Classify|Embed|Extract|Filter|Generate|Redact|Similarity|Translate))\b",
    re.IGNORECASE,
)
_READONLY = 164
_TOO_LARGE = 62


@asynccontextmanager
async def serve_analysts(
    address: tuple[str, int], password: str, path: Path
) -> AsyncIterator[None]:
    """Serve the engine to analysts while the context is open.

    Args:
        address: Host and port to listen on.
        password: Password of the user.
        path: The engine's directory, opened with the configuration of `analyst_grants`.

    Raises:
        SettingsError: The address cannot be used.
    """
    engine = await asyncio.to_thread(ReadOnlyEngine, str(path))
    runner = http.runner(engine, _log_in_with(password), threads=_THREADS)
    await runner.setup()
    try:
        await listen(runner, *address, "STANZALAKE_ANALYSTS_ADDRESS")
        log.info("analysts read as %s at %s:%d", USER, *address)
        yield
    finally:
        await runner.cleanup()
        await asyncio.to_thread(engine.close)


def _log_in_with(password: str) -> http.LogIn:
    preparation = [f"SET ROLE {USER}", *assign(_BOUNDS)]

    def log_in(user: str, given: str) -> Sequence[str]:
        if user != USER or not secrets.compare_digest(given.encode(), password.encode()):
            raise http.authentication_failed(user)
        return preparation

    return log_in


class ReadOnlyEngine(Engine):
    """The engine for statements that read."""

    def run(self, statement: Statement, preparation: Sequence[str] = ()) -> Result:
        """Run a single query on a new connection, within the bounds of the preparation.

        Raises:
            EngineError: The statement failed, or is no query.
        """
        text = self._only_query(statement.text, preparation)
        own = {n: v for n, v in statement.settings.items() if _is_allowed(n, v)}
        # The engine itself refuses the others.
        others = {n: v for n, v in statement.settings.items() if n not in own}
        query = replace(statement, text=text, settings=others)
        return super().run(query, [*preparation, *assign(own), "SET readonly = 1"])

    def _only_query(self, text: bytes, preparation: Sequence[str]) -> bytes:
        """Return a statement as the engine understands it; two statements are a syntax error."""
        if len(text) > MAX_STATEMENT:
            raise http.engine_error(_TOO_LARGE, "The statement is too long", "SYNTAX_ERROR")
        quoted = literal(text.decode(errors="replace")).encode()
        formatter = Statement(b"SELECT formatQuerySingleLine(%s) FORMAT RawBLOB" % quoted)
        formatted = super().run(formatter, preparation).data
        bare = _QUOTED.sub(lambda quoted: quoted[1] or b"''", formatted)
        if not _QUERY.match(formatted) or _FORBIDDEN.search(bare):
            raise http.engine_error(_READONLY, "Only queries of tables are run here", "READONLY")
        return formatted


def _is_allowed(name: str, value: str) -> bool:
    """Tell whether a request may have a setting: harmless ones, and lower bounds."""
    if name in _FREE:
        return True
    return name in _LOWERED and value.isdecimal() and 0 < int(value) <= _BOUNDS[name]
