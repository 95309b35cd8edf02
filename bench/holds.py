"""Holds of Prosody's loop: for how long a page of large messages keeps everybody else waiting.

mod_loop_holds, loaded into each contender's Prosody, measures every handler between two waits for
events: a read from a socket, or the timers that are due.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.contenders import Contender
from bench.corpus import HOST
from bench.questions import LAST_PAGE, fetch
from devstack.raw import RawSession

MODULES = Path(__file__).with_name("modules")
PAGE = 250
BYTES = 12 * 1024
"""Of each message: a page holds up to 4 MiB of stanzas."""
_SPAN = "<span style='bold'>a word</span>"
CONTENTS = {
    "text": f"<body>{'text of a message '.ljust(BYTES, 'x')}</body>",
    "markup": f"<body>spans</body><x xmlns='urn:x'>{_SPAN * (BYTES // len(_SPAN))}</x>",
}

_LONGEST = "<iq type='get' to='{}' id='holds'><longest xmlns='urn:stanzalake:bench:holds'/></iq>"
_ATTRIBUTE = re.compile(rb"(wall|cpu)=['\"]([0-9.]+)['\"]")


class Hold(NamedTuple):
    """The longest time for which one handler held the loop, in seconds.

    Attributes:
        wall: By the wall clock: what others waited for.
        cpu: Of CPU time, which other processes of the machine do not prolong.
    """

    wall: float
    cpu: float


def add_probe(contender: Contender) -> None:
    """Load mod_loop_holds from the next start on."""
    prosody = contender.prosody
    prosody.module_dirs = (*prosody.module_dirs, MODULES)
    prosody.modules = (*prosody.modules, "loop_holds")


async def longest(probe: RawSession) -> Hold:
    """Return the longest hold since the last call."""
    probe.write(_LONGEST.format(HOST))
    answer = dict(_ATTRIBUTE.findall(await probe.reader.readuntil(b"</iq>")))
    return Hold(float(answer[b"wall"]), float(answer[b"cpu"]))


async def fill(sender: RawSession, readers: Sequence[RawSession], messages: int) -> None:
    """Send each reader large messages: the first one text, the second one markup."""
    for reader, content in zip(readers, CONTENTS.values(), strict=True):
        for _ in range(messages):
            sender.write(f"<message to='{reader.jid}' type='chat'>{content}</message>")
            await sender.writer.drain()
            await reader.reader.readuntil(b"</message>")


async def measure(probe: RawSession, reader: RawSession, pages: int) -> list[Hold]:
    """Read the same page again and again; return the longest hold during each."""
    markup, found = LAST_PAGE.markup(str, PAGE), list[Hold]()
    await fetch(reader, markup)
    for _ in range(pages):
        await longest(probe)
        await fetch(reader, markup)
        found.append(await longest(probe))
    return found
