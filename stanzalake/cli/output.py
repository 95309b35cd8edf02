"""Standard output and error of a command, whose failures are reported and not traced."""

import io
import os
import sys
from typing import Any

import click

from stanzalake.errors import OutputClosed, OutputFailed


class _Output(io.FileIO):
    """File descriptor of standard output."""

    def write(self, data: Any) -> int:
        """Write bytes.

        Raises:
            OutputClosed: The reader has closed the pipe.
            OutputFailed: The bytes cannot be written.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OutputClosed("standard output is closed") from None
        except OSError as error:
            raise OutputFailed(f"standard output cannot be written: {error.strerror}") from None


class _Diagnostics(io.FileIO):
    """File descriptor of standard error, whose failures nobody can be told."""

    def write(self, data: Any) -> int:
        """Write bytes, if that is possible."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def guard() -> None:
    """Replace the standard streams by ones that raise our errors and escape unencodable text."""
    _open_closed()
    output, diagnostics = _Output(1, "wb", closefd=False), _Diagnostics(2, "wb", closefd=False)
    sys.stdout = _replacement(output, sys.stdout, line_buffering=output.isatty())
    sys.stderr = _replacement(diagnostics, sys.stderr, line_buffering=True)


def _open_closed() -> None:
    """Open standard descriptors that are closed, so that no other file gets their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _replacement(raw: io.FileIO, stream: Any, *, line_buffering: bool) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=line_buffering,
    )


def tell(text: str) -> None:
    """Tell a person something that is no output for a script, on standard error."""
    click.echo(text, err=True)


def flush() -> None:
    """Write what is buffered; raises as writing does."""
    sys.stdout.flush()


def discard() -> None:
    """Send the rest of the output nowhere, after it could not be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def encodable(text: str, plain: str) -> str:
    """Return the text if standard output can encode it, else the plain one."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return plain
    return text
