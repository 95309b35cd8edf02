"""The embedded engine (chDB): statements run by it for others than this process's own services."""

import importlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

_INSERT = re.compile(rb"\s*(INSERT\s[^\n]*?)\s+FORMAT\s+(\w+)\s*\n", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\..*", re.DOTALL)
_STD_EXCEPTION = 1001


class Refused(Exception):
    """The answer to a statement is an error.

    Args:
        text: As a ClickHouse server writes it: ``Code: 60. DB::Exception: ...``.

    Attributes:
        code: ClickHouse's number for it.
        text: The same text, without what stood before it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        match = _CODE.search(text)
        self.code = int(match[1]) if match else _STD_EXCEPTION
        self.text = match[0] if match else text


@dataclass(frozen=True)
class Statement:
    """One statement with what belongs to it.

    Attributes:
        text: SQL; an INSERT's rows follow it, behind a line end, in the format that it names.
        database: Where its names are looked up; empty for the engine's default.
        parameters: Values of its ``{name:Type}``.
        settings: Settings of ClickHouse for this statement.
    """

    text: bytes
    database: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def load() -> ModuleType:
    """Load chDB: a hundred megabytes, for a process that has an engine only.

    It asks for the working directory by its name, which may lead through others' directories, as
    after ``runuser``: a process that cannot enter it so goes to the root first.
    """
    try:
        os.chdir(Path.cwd())
    except OSError:
        os.chdir("/")
    return importlib.import_module("chdb")


class Engine:
    """The engine on a directory. Its calls block; several threads may use it at once.

    Args:
        path: The directory, as chDB takes it: for one process, always in the same spelling.
    """

    def __init__(self, path: str) -> None:
        self._connect = partial(load().connect, path)
        # The engine lives as long as one connection does.
        self._keeper = self._connect()

    def run(self, statement: Statement, preparation: Sequence[str] = ()) -> bytes:
        """Give a statement's result in the format that it names, TabSeparated by default.

        Args:
            statement: What is to be run, on a connection of its own.
            preparation: Statements that come before its settings.

        Raises:
            Refused: The engine says no.
        """
        connection = self._connect()
        try:
            for text in (*preparation, *_settings(statement)):
                connection.query(text)
            with _loaded(statement.text) as loaded:
                result = connection.query(loaded, "TabSeparated", params=statement.parameters)
            return bytes(result.bytes() or b"")
        except RuntimeError as error:  # the base of the engine's own
            raise Refused(str(error)) from None
        finally:
            connection.close()

    def interrupt(self) -> None:
        """End the statements that run, which are then refused."""
        self._keeper.query("KILL QUERY WHERE true ASYNC")

    def close(self) -> None:
        """Stop the engine, if nobody else in the process uses it; what was inserted stays."""
        self._keeper.close()


def literal(text: str) -> str:
    """Give a text as SQL writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _identifier(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _settings(statement: Statement) -> Iterator[str]:
    if statement.database:
        yield f"USE {_identifier(statement.database)}"
    for name, value in statement.settings.items():
        yield f"SET {_identifier(name)} = {literal(value)}"


@contextmanager
def _loaded(text: bytes) -> Iterator[bytes]:
    """Put an insert's rows into a file: the engine takes binary ones from nowhere else."""
    head = _INSERT.match(text)
    if head is None:
        yield text
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(text[head.end() :])
        file.flush()
        yield b"%s FROM INFILE '%s' FORMAT %s" % (head[1], file.name.encode(), head[2])
