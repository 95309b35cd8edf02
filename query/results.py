"""Archived messages as a client gets them (XEP-0313 §4.2)."""

from collections.abc import Iterable

from query.request import Result
from stanzalake.model.page import Item
from stanzalake.model.position import to_milliseconds
from stanzalake.xmpp import dates, markup
from stanzalake.xmpp.namespaces import DELAY, FORWARD, MAM


def stamp(item: Item) -> str:
    """Give the time of an item (XEP-0082)."""
    return dates.emit(to_milliseconds(item.position))


def format_results(items: Iterable[Item], queryid: str | None) -> list[Result]:
    """Give the ``<result/>`` of each item."""
    # One template for the page: escaping each element's attributes takes twice as long.
    begin = f"<result{markup.attributes({'xmlns': MAM, 'queryid': queryid})}"
    delay = f'<forwarded xmlns="{FORWARD}"><delay xmlns="{DELAY}" stamp="'
    return [
        Result(
            item.position,
            f"{begin} id={markup.quote(item.id)}>{delay}{stamp(item)}"
            f'"/>{item.stanza}</forwarded></result>',
        )
        for item in items
    ]
