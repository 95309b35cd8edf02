"""SQL injection: no text of a client reaches into another archive."""

from collections.abc import AsyncIterator
from xml.sax.saxutils import escape

import pytest

from query.errors import StanzaError
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from tests.support.archives import SEALER, row, rows, visible_id
from tests.support.queries import Reply, field, form, page, search
from tests.support.stores import ON_BOTH_STORES

pytestmark = ON_BOTH_STORES

MALLORY = "mallory@capulet.lit"
VICTIM = "access-victim@capulet.lit"
NOBODY = "access-nobody@capulet.lit"
METACHARACTERS = (
    "' OR 1=1 --",
    f"' OR owner = '{VICTIM}",
    "') OR (1=1",
    "\\' OR 1=1 --",
    "{owner:String}",
    "%(owner)s",
    "'; DROP TABLE repository; --",
    "' UNION ALL SELECT 1, '', stanza, 1 FROM repository --",
    "%",
    "_",
    "\x7f",
    "\u2019 OR 1=1",
)
FIELDS = ("with", "start", "end", "before-id", "after-id", "ids", "include-groupchat", "other")


@pytest.fixture
async def reader(messages: Store) -> AsyncIterator[ArchiveReader]:
    messages.insert([given._replace(owner=VICTIM) for given in rows(5)])
    reader = ArchiveReader(messages, SEALER, FOREVER)
    yield reader
    await reader.close()


async def outcome(reader: ArchiveReader, *content: str, owner: str = MALLORY) -> object:
    """Give what an owner is told: the error, or the bodies, the count and whether it ends."""
    try:
        reply: Reply = await search(reader.archive(owner), *content)
    except StanzaError as error:
        return error.condition
    return (reply.bodies, reply.count, reply.complete)


@pytest.mark.requirement("313-154")
@pytest.mark.parametrize("text", METACHARACTERS)
@pytest.mark.parametrize("name", FIELDS)
async def test_no_form_field_reaches_another_archive(
    reader: ArchiveReader, name: str, text: str
) -> None:
    told = await outcome(reader, form(field(name, escape(text))))
    assert told in (([], 0, True), "bad-request", "item-not-found", "feature-not-implemented")


@pytest.mark.requirement("313-154")
@pytest.mark.parametrize("text", METACHARACTERS)
@pytest.mark.parametrize("name", ["max", "after", "before", "index"])
async def test_no_paging_value_reaches_another_archive(
    reader: ArchiveReader, name: str, text: str
) -> None:
    told = await outcome(reader, page(f"<{name}>{escape(text)}</{name}>"))
    assert told in ("bad-request", "item-not-found")


@pytest.mark.requirement("313-61", "359-19", "355-31")
@pytest.mark.parametrize(
    "content",
    [
        form(field("with", VICTIM)),
        form(field("with", NOBODY)),
        form(field("ids", visible_id(row(1)._replace(owner=VICTIM)))),
        page(f"<after>{visible_id(rows(1)[0]._replace(owner=VICTIM))}</after>"),
        page("<before/>"),
    ],
)
async def test_foreign_and_unknown_archives_answer_alike(
    reader: ArchiveReader, messages: Store, content: str
) -> None:
    before = await outcome(reader, content)
    assert before == await outcome(reader, content.replace(VICTIM, NOBODY))
    messages.insert([given._replace(owner=VICTIM, legacy_id="old") for given in rows(7)[5:]])
    assert await outcome(reader, content) == before


@pytest.mark.parametrize("owner", ["' OR 1=1 --@h", "%@h", "{owner:String}@h", "\\@h", "a'b\"@h"])
async def test_an_owner_whose_name_is_sql_reads_only_his_archive(
    reader: ArchiveReader, messages: Store, owner: str
) -> None:
    assert await outcome(reader, owner=owner) == ([], 0, True)
    messages.insert([rows(1)[0]._replace(owner=owner)])
    assert await outcome(reader, owner=owner) == (["1"], 1, True)
