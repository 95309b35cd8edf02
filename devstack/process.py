"""Child processes, identified and ended by their handles."""

import asyncio
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals
from typing import Any, ClassVar, Protocol, TypeVar

WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""Prefix of a command line: the kernel kills the program when this process dies."""

_POLL = 0.02
_LOG_TAIL = 4000


class ProgramFailed(Exception):
    """A program failed; the text ends with its log."""


class Startable(Protocol):
    """A program or a group of programs."""

    async def start(self) -> object:
        """Start, and wait until ready."""

    async def stop(self) -> object:
        """Stop, even after an incomplete start."""


S = TypeVar("S", bound=Startable)


@asynccontextmanager
async def running(part: S) -> AsyncIterator[S]:
    """Start a program for the block, and stop the program on every way out."""
    try:
        await part.start()
        yield part
    finally:
        await part.stop()


@dataclass(kw_only=True)
class Process(ABC):
    """A child process that may not be running."""

    start_wait: ClassVar[float] = 60.0
    """Seconds until the program has to be ready."""
    stop_wait: ClassVar[float] = 30.0
    """Seconds after SIGTERM until the program has to end."""

    _process: asyncio.subprocess.Process | None = field(default=None, init=False, repr=False)
    _start: int = field(default=0, init=False, repr=False)

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """The log file, across restarts."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        assert self._process is not None  # noqa: S101  # the caller has started the process
        return self._process.pid

    def signal(self, number: Signals) -> None:
        """Send the process a signal."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    async def stop(self) -> int:
        """End the process with SIGTERM, and return the exit status.

        Raises:
            TimeoutError: The process did not end in time and was killed.
        """
        self.signal(SIGTERM)
        self.signal(SIGCONT)  # a stopped process handles no other signal
        try:
            async with asyncio.timeout(self.stop_wait):
                return await self.wait()
        except TimeoutError:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        self.signal(SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """Wait for the process to end, and return the exit status; 0 if never started."""
        return 0 if self._process is None else await self._process.wait()

    async def _launch(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        """Start the program.

        Args:
            command: The command line.
            environment: The complete environment; this process's if None.
            options: Further arguments for asyncio.
        """
        with self.log_path.open("ab") as output:
            self._start = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(*WITH_PARENT, *command),
                env=environment,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the parent, which stops all in order
                **options,
            )

    async def _works(self, condition: Callable[[], object]) -> None:
        """Wait for a condition that tells that the program is ready.

        Raises:
            ProgramFailed: The program ended, or is not ready in time.
        """
        try:
            async with asyncio.timeout(self.start_wait):
                while not condition():
                    if not self.alive:
                        raise self._failure("ended at its start")
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            await self.kill()
            raise self._failure("does not work in time") from None

    def _output(self) -> str:
        """Return the output since the last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def _failure(self, reason: str) -> ProgramFailed:
        return ProgramFailed(f"{type(self).__name__} {reason}:\n{self._output()[-_LOG_TAIL:]}")


@dataclass(kw_only=True)
class Server(Process):
    """A third-party server, which may not end on SIGTERM."""

    stop_wait: ClassVar[float] = 20.0

    async def stop(self) -> int:
        """End the process with SIGTERM, after a timeout with SIGKILL."""
        with suppress(TimeoutError):
            return await super().stop()
        return -SIGKILL
