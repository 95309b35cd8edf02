"""The embedded engine (chDB), run on behalf of HTTP clients."""

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from stanzalake.store.statement import identifier, literal

# Rows begin behind the first line feed: a block of 9 columns and 10 rows begins with white space.
_INSERT = re.compile(rb"\s*(INSERT\s[^\n]*?)\s+FORMAT\s+(\w+)[^\S\n]*\n", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\..*", re.DOTALL)
_STD_EXCEPTION = 1001
_REWRITING = "MergeMutate"
"""Name of the engine's threads that merge and rewrite parts."""
_NICE = 10
"""Their nice value: a tenth of a statement's share of a processor that both want."""


class EngineError(Exception):
    """A statement failed.

    Args:
        text: In a server's format: ``Code: 60. DB::Exception: ...``.

    Attributes:
        code: ClickHouse's error code.
        text: The text from ``Code:`` on.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        match = _CODE.search(text)
        self.code = int(match[1]) if match else _STD_EXCEPTION
        self.text = match[0] if match else text


@dataclass(frozen=True)
class Statement:
    """A statement with its parameters and settings.

    Attributes:
        text: SQL. The rows of an INSERT follow after a newline, in the format it names.
        database: Current database; empty for the engine's default.
        parameters: Values of ``{name:Type}`` parameters.
        settings: ClickHouse settings for this statement.
        format: Format of the result, if the statement names none.
    """

    text: bytes
    database: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    format: str = "TabSeparated"


class Result(NamedTuple):
    """Result of a statement.

    Attributes:
        data: The rows, in the statement's format.
        rows: Number of them.
        read_rows: Number of rows that were read from tables.
        read_bytes: Bytes that were read.
    """

    data: bytes
    rows: int
    read_rows: int
    read_bytes: int


def load_chdb() -> ModuleType:
    """Import chDB: a hundred megabytes, wanted only in processes that run the engine.

    chDB resolves the working directory by name. After ``runuser`` that path may be closed to this
    user; the process changes to the root directory then.
    """
    try:
        os.chdir(Path.cwd())
    except OSError:
        os.chdir("/")
    with _without_module("pyarrow"):
        importlib.import_module("chdb.state")
    return importlib.import_module("chdb")


@contextmanager
def _without_module(name: str) -> Iterator[None]:
    """Have imports of an optional module fail: pyarrow takes 0.1 s and 50 MB, for no use here."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's "does not exist"
    try:
        yield
    finally:
        del sys.modules[name]


def let_rewriting_give_way() -> None:
    """Lower the priority of merges and mutations in this process: pages and inserts go first.

    In Linux each thread has its own: https://man7.org/linux/man-pages/man2/setpriority.2.html
    """
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # it may have ended
            if (thread / "comm").read_text().strip() == _REWRITING:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)


class Engine:
    """Thread-safe engine on a directory. All calls block.

    Args:
        path: Directory in chDB's notation; always spelt the same within a process.
    """

    def __init__(self, path: str) -> None:
        self._connect = partial(load_chdb().connect, path)
        # chDB shuts the engine down with its last connection.
        self._keeper = self._connect()

    def run(self, statement: Statement, preparation: Sequence[str] = ()) -> Result:
        """Run a statement on a new connection; return its result.

        Args:
            statement: The statement.
            preparation: Statements to run before, ahead of the settings.

        Raises:
            EngineError: The statement failed.
        """
        connection = self._connect()
        try:
            use = [f"USE {identifier(statement.database)}"] if statement.database else []
            for each in (*preparation, *use, *assign(statement.settings)):
                connection.query(each)
            with _rows_in_file(statement.text) as text:
                result = connection.query(text, statement.format, params=statement.parameters)
            return Result(
                data=bytes(result.bytes() or b""),
                rows=result.rows_read(),
                read_rows=result.storage_rows_read(),
                read_bytes=result.storage_bytes_read(),
            )
        except RuntimeError as error:  # base class of chDB's errors
            raise EngineError(str(error)) from error
        finally:
            connection.close()

    def interrupt(self) -> None:
        """Cancel running statements, which then fail."""
        self._keeper.query("KILL QUERY WHERE true ASYNC")

    def close(self) -> None:
        """Close the connection; the last one of the process stops the engine."""
        self._keeper.close()


def assign(settings: Mapping[str, object]) -> Sequence[str]:
    """Return the statement that sets settings on a connection; none without any."""
    values = (f"{identifier(name)} = {literal(str(value))}" for name, value in settings.items())
    text = ", ".join(values)
    return [f"SET {text}"] if text else []


@contextmanager
def _rows_in_file(text: bytes) -> Iterator[bytes]:
    """Move an INSERT's rows to a file: chDB reads binary formats only from files."""
    head = _INSERT.match(text)
    if head is None:
        yield text
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(text[head.end() :])
        file.flush()
        yield b"%s FROM INFILE '%s' FORMAT %s" % (head[1], file.name.encode(), head[2])
