"""The status as a page: plain HTML without scripts or other files, for any screen."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from html import escape

from stanzalake.observability.status import Archive, Journal, Status

REFRESH_SECONDS = 5

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STYLE = """
:root { color-scheme: light dark;
  --columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  --line: #8884; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #4ac26b; --bad: #ff7b72; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
h2 { font-size: 1rem; margin: 0 0 .25rem; }
main { display: grid; gap: 1rem; grid-template-columns: var(--columns); }
section { border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
dl { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .1rem 1rem; margin: 0; }
dt { overflow-wrap: anywhere; opacity: .8; }
dd { margin: 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.up { color: var(--good); } .down { color: var(--bad); font-weight: bold; }
footer { margin-top: 1rem; font-size: .85rem; opacity: .7; }
"""

Rows = Mapping[str, str]
"""Values as text, by name."""


def sections(status: Status) -> Iterator[tuple[str, Rows]]:
    """Yield the titles and rows of a status, for the page and for terminals."""
    yield "Parts", {name: "up" if up else "down" for name, up in status.parts.items()}
    yield "Traffic", _traffic(status)
    if status.facts.archive is not None:
        yield "Archive", _archive(status.facts.archive, status.cleaned)
    if status.facts.journals:
        yield "Journals", {journal.host: _journal(journal) for journal in status.facts.journals}
    yield "Versions", status.facts.versions


def _traffic(status: Status) -> Rows:
    return {
        "received": f"{status.received:.1f} events/s",
        "archived": f"{status.stored:.1f} messages/s",
        "queries": f"{status.queries:.1f}/s",
        "not archived yet": f"{status.lag:,} events",
        "rejected since the start": f"{status.rejected:,}",
        "running for": _duration(status.at - status.started),
    }


def _archive(archive: Archive, cleaned: datetime | None) -> Rows:
    return {
        "messages": f"{archive.messages:,}",
        "oldest": _time(archive.oldest),
        "newest": _time(archive.newest),
        "on disk": size(archive.bytes_on_disk),
        "last clean-up": _time(cleaned),
    }


def _journal(journal: Journal) -> str:
    if journal.waiting is None:
        return "does not answer"
    return f"{size(journal.waiting)} of {size(journal.limit)} wait"


def size(number: float) -> str:
    """Format a number of bytes."""
    for unit in _UNITS[:-1]:
        if number < 1000:  # noqa: PLR2004  # the prefixes of SI
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {_UNITS[-1]}"


def _time(moment: datetime | None) -> str:
    return "none" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(time: timedelta) -> str:
    hours, seconds = divmod(int(time.total_seconds()), 3600)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {seconds // 60} min"


def page(status: Status) -> str:
    """Format a status as an HTML document that loads itself anew."""
    state = "up" if status.up else "down"
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta http-equiv='refresh' content='{REFRESH_SECONDS}'>"
        f"<title>Stanzalake is {state}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Stanzalake is <span class='{state}'>{state}</span></h1>"
        f"<main>{''.join(_section(*section) for section in sections(status))}</main>"
        f"<footer>{_time(status.at)}. Rates are of the last minute. <a href='metrics'>Metrics</a>"
        "</footer></body></html>\n"
    )


def _section(title: str, rows: Rows) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd{_class(value)}>{escape(value)}</dd>"
        for name, value in rows.items()
    )
    return f"<section><h2>{escape(title)}</h2><dl>{items}</dl></section>"


def _class(value: str) -> str:
    return f" class='{value}'" if value in {"up", "down"} else ""
