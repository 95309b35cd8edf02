"""Programs on loopback, known by their handles and ended by them."""

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
"""Before a command line: the kernel ends the program with this process, however that ends."""

_POLL = 0.02
_LOG_TAIL = 4000


class ProgramFailed(Exception):
    """A program did not do what it was started for; the text ends with its own words."""


class Startable(Protocol):
    """What can be started and stopped: a program, or several together."""

    async def start(self) -> object:
        """Start it, and wait until it works."""

    async def stop(self) -> object:
        """Stop it, however far its start came."""


S = TypeVar("S", bound=Startable)


@asynccontextmanager
async def running(part: S) -> AsyncIterator[S]:
    """Run something for the block, and stop it however that ends."""
    try:
        await part.start()
        yield part
    finally:
        await part.stop()


@dataclass(kw_only=True)
class Process(ABC):
    """A program, once it is started."""

    start_wait: ClassVar[float] = 60.0
    """Seconds within which it has to work."""
    stop_wait: ClassVar[float] = 30.0
    """Seconds within which it has to end."""

    _process: asyncio.subprocess.Process | None = field(default=None, init=False, repr=False)
    _start: int = field(default=0, init=False, repr=False)

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """The file of its output, of all its starts."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The number of the process of its last start."""
        assert self._process is not None  # noqa: S101  # who asks has started it
        return self._process.pid

    def signal(self, number: Signals) -> None:
        """Send the process a signal."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    async def stop(self) -> int:
        """End the process with SIGTERM, and give its exit status.

        Raises:
            TimeoutError: It did not end in time, and was ended with SIGKILL.
        """
        self.signal(SIGTERM)
        self.signal(SIGCONT)  # a frozen one hears nothing else
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
        """Wait until it ends by itself, and give its exit status; 0 if it never started."""
        return 0 if self._process is None else await self._process.wait()

    async def _launch(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        """Start the program.

        Args:
            command: Its command line.
            environment: Its whole environment; this process's if None.
            options: More of what asyncio takes.
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
        """Wait for a condition that says that it works.

        Raises:
            ProgramFailed: It ended, or does not work in time.
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
        """Give its output since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def _failure(self, reason: str) -> ProgramFailed:
        return ProgramFailed(f"{type(self).__name__} {reason}:\n{self._output()[-_LOG_TAIL:]}")


@dataclass(kw_only=True)
class Server(Process):
    """A program of others, which may not end when it is asked to."""

    stop_wait: ClassVar[float] = 20.0

    async def stop(self) -> int:
        """End the process with SIGTERM, and with SIGKILL if that takes too long."""
        with suppress(TimeoutError):
            return await super().stop()
        return -SIGKILL
