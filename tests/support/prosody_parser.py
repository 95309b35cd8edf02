"""Prosody's own stream parser, as a process that is asked about stanzas."""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from devstack.prosody import MODULES
from tests.support.lua import environment

_SCRIPT = Path(__file__).parents[1] / "unit" / "lua" / "parse_stanza.lua"


class Parsed(NamedTuple):
    """Result of parsing a text as part of a client's stream.

    Attributes:
        stanzas: Number of stanzas.
        text: Serialisation of a single stanza, as Prosody sends it.
    """

    stanzas: int
    text: str


class ProsodyParser:
    """A Lua process with Prosody's parser."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def parse(self, text: str) -> Parsed | None:
        """Return the result of parsing; None if Prosody ends the stream with an error."""
        self._input.write(base64.b64encode(text.encode()) + b"\n")
        self._input.flush()
        answer = self._output.readline()
        assert answer, "the process ended"
        if answer == b"error\n":
            return None
        number, encoded = answer.rstrip(b"\n").split(b"\t")
        return Parsed(int(number), base64.b64decode(encoded).decode())


@contextmanager
def prosody_parser() -> Iterator[ProsodyParser]:
    """Run the parser while the context is open."""
    with subprocess.Popen(  # noqa: S603  # fixed arguments
        ["lua5.4", _SCRIPT, MODULES / "mod_stanzalake"],  # noqa: S607  # wherever it is installed
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield ProsodyParser(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
