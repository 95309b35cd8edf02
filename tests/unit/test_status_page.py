"""The status page: complete, escaped, and the same as in a terminal."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import msgspec

from stanzalake.observability.status import Archive, Facts, Journal, Status
from stanzalake.observability.status_page import page, sections, size

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
STATUS = Status(
    at=NOW,
    started=NOW - timedelta(days=3, hours=4),
    parts={"query.stanzalake at <prosody>": True, "processor": False},
    lag=1234,
    received=12.34,
    stored=5.0,
    queries=0.1,
    rejected=3,
    cleaned=None,
    facts=Facts(
        archive=Archive(1_000_000, NOW - timedelta(days=90), NOW, 45_600_000_000),
        journals=[Journal("capulet.lit", 2048, 10**9), Journal("montague.lit", None, 0)],
        versions={"stanzalake": "0.1.0", "ClickHouse": "26.9"},
    ),
)


class Reader(HTMLParser):
    """Collects the terms and values of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: dict[str, str] = {}
        self._open = ""
        self._term = ""

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "dt":
            self._term = data
        elif self._open == "dd":
            self.values[self._term] = data


def test_the_page_has_every_value_that_a_terminal_shows() -> None:
    reader = Reader()
    reader.feed(page(STATUS))
    assert reader.values == {k: v for _, rows in sections(STATUS) for k, v in rows.items()}
    assert reader.values["query.stanzalake at <prosody>"] == "up"
    assert reader.values["not archived yet"] == "1,234 events"
    assert reader.values["running for"] == "3 d 4 h"
    assert reader.values["on disk"] == "45.6 GB"
    assert reader.values["capulet.lit"] == "2.0 kB of 1.0 GB wait"
    assert reader.values["montague.lit"] == "does not answer"


def test_the_page_needs_no_script_and_no_other_file() -> None:
    reader = Reader()
    reader.feed(page(STATUS))
    assert not {"script", "img", "link", "iframe"} & {*reader.tags}
    assert "http" not in page(STATUS).replace("http-equiv", "")


def test_a_process_without_parts_or_with_one_that_is_down_is_down() -> None:
    assert "Stanzalake is down" in page(STATUS)
    assert "Stanzalake is up" in page(msgspec.structs.replace(STATUS, parts={"processor": True}))
    assert not msgspec.structs.replace(STATUS, parts={}).up


def test_a_service_without_a_store_shows_its_parts_and_traffic() -> None:
    status = msgspec.structs.replace(STATUS, facts=Facts())
    assert [title for title, _ in sections(status)] == ["Parts", "Traffic", "Versions"]


def test_a_status_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(STATUS), type=Status) == STATUS


def test_sizes_have_si_prefixes() -> None:
    assert [size(n) for n in (0, 999, 1000, 10**18)] == ["0 B", "999 B", "1.0 kB", "1000.0 PB"]
