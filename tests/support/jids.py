"""JIDs as anybody may write them, and as Prosody's own util.jid normalises them."""

import random
import stringprep
import subprocess
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

from tests.support.lua import environment

_NORMALISE = """
local jids = require "util.jid"
for line in io.lines() do
    local text = line:gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end)
    local jid, local_part, domain, resource = jids.prep(text), jids.prepped_split(text)
    if local_part == "" or domain == "" or resource == "" then jid = nil end
    print(jid and jid:gsub(".", function(c) return ("%02x"):format(c:byte()) end) or "-")
end
"""


@cache
def _pools() -> Sequence[Sequence[str]]:
    """Give what parts are made of; it takes a second, which collecting the tests need not take."""
    characters = [chr(code) for code in (*range(1, 0xD800), *range(0xE000, 0x110000))]

    def where(holds: Callable[[str], bool], limit: int = 0x110000) -> list[str]:
        return [c for c in characters[:limit] if holds(c)]

    return (
        characters[:0x7F],
        characters[:0x600],
        characters[:0x3000],
        characters,
        where(lambda c: unicodedata.bidirectional(c) in {"R", "AL", "AN", "NSM"}),
        where(lambda c: unicodedata.combining(c) > 0),
        where(lambda c: unicodedata.normalize("NFKC", c) != c),
        where(lambda c: c.casefold() != c),
        where(stringprep.in_table_a1, 0x20000),
        where(stringprep.in_table_b1),
        ["a", "א", "\N{ROSE}", ".", "[::1]", "x.org", "Ǆ", "ß", "ẞ", "a" * 1023, "ﷺ" * 31],
    )


def written(number: int, seed: int) -> list[str]:
    """Give JIDs of every form, most of them valid, some of them not."""
    source = random.Random(seed)  # noqa: S311  # nothing secret
    return [_written(source) for _ in range(number)]


def _written(source: random.Random) -> str:
    separators = source.choice(("{}", "{}@{}", "{}@{}/{}", "{}/{}", "{}@{}.", "{}@{}@{}/{}", "{}@"))
    return separators.format(*(_part(source) for _ in range(separators.count("{}"))))


def _part(source: random.Random) -> str:
    pool = source.choice(_pools())
    return "".join(source.choices(pool, k=source.randint(0, 4)))


def normalised_by_prosody(jids: Sequence[str]) -> list[str | None]:
    """Normalise JIDs with Prosody's util.jid; None if it refuses one, or leaves a part empty."""
    lines = "".join(f"{jid.encode().hex()}\n" for jid in jids)
    result = subprocess.run(  # noqa: S603  # fixed arguments
        ["lua5.4", "-e", _NORMALISE],  # noqa: S607  # wherever it is installed
        env=environment(),
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        None if line == "-" else bytes.fromhex(line).decode() for line in result.stdout.splitlines()
    ]
