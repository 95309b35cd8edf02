"""A library's own MAM plugins as the client, unchanged."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from slixmpp import JID
from slixmpp.exceptions import IqError

from query.forms import TEXT_FIELD
from stanzalake.xmpp.namespaces import FULL_TEXT
from tests.support.clients import CLIENT, RawClient
from tests.support.deployments import JULIET, ROMEO, deployed, entries, session
from tests.support.queries import field, form

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODIES = [str(number) for number in range(25)]
MAM = "urn:xmpp:mam:2"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def juliet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RawClient]:
    """Give Juliet, who has said 25 things to Romeo, by turns with a resource of his."""
    async with deployed(tmp_path_factory.mktemp("plugins")) as deployment:
        juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
        for plugin in ("xep_0313", "xep_0441"):
            juliet.register_plugin(plugin)
        for number, body in enumerate(BODIES):
            juliet.say(f"{ROMEO}/one" if number % 2 else ROMEO, body, f"m{number}")
        await romeo.message("m24")
        yield juliet
        await juliet.offline()
        await romeo.offline()


def read(messages: list[Any]) -> list[str]:
    forwarded = [message["mam_result"]["forwarded"] for message in messages]
    assert all(isinstance(one["delay"]["stamp"], datetime) for one in forwarded)
    return [one["stanza"]["body"] for one in forwarded]


@pytest.mark.behaviour(13, 14)
@pytest.mark.requirement("313-13", "313-79", "313-83")
async def test_one_request_gives_all(juliet: RawClient) -> None:
    answer = await juliet["xep_0313"].retrieve(with_jid=JID(ROMEO))
    assert read(answer["mam"]["results"]) == BODIES
    assert answer["mam_fin"]["complete"] == "true"


@pytest.mark.requirement("313-87", "313-92", "59-09", "59-14")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [3, 5, 10, 25])
async def test_iterating_gives_all_in_either_direction(
    juliet: RawClient, size: int, reverse: bool
) -> None:
    pages = juliet["xep_0313"].iterate(jid=JID(JULIET), reverse=reverse, rsm={"max": size})
    messages = [message async for message in pages]
    assert read(messages) == (BODIES[::-1] if reverse else BODIES)


@pytest.mark.behaviour(20, 21, 22)
@pytest.mark.requirement("313-43", "313-50", "313-52", "313-54")
async def test_filters_select(juliet: RawClient) -> None:
    plugin = juliet["xep_0313"]
    whole = [message async for message in plugin.iterate(with_jid=JID(f"{ROMEO}/one"))]
    assert read(whole) == BODIES[1::2]
    ends = [message["mam_result"]["forwarded"]["delay"]["stamp"] for message in whole[2:5:2]]
    within = plugin.iterate(start=ends[0], end=ends[1], with_jid=JID(ROMEO))
    assert {"5", "7", "9"} <= set(read([message async for message in within]))
    hour = timedelta(hours=1)
    assert [m async for m in plugin.iterate(start=ends[-1] + hour, with_jid=JID(ROMEO))] == []
    assert [m async for m in plugin.iterate(end=ends[0] - hour, with_jid=JID(ROMEO))] == []


@pytest.mark.behaviour(4)
@pytest.mark.requirement("313-69", "313-71", "313-149")
async def test_the_form_and_the_features_are_offered(juliet: RawClient) -> None:
    form = await juliet["xep_0313"].get_fields()
    names = {field["var"] for field in form["fields"]}
    assert {"with", "start", "end", "before-id", "after-id", "ids"} <= names
    info = await juliet["xep_0030"].get_info(jid=JULIET)
    assert {MAM, f"{MAM}#extended"} <= set(info["disco_info"]["features"])


@pytest.mark.requirement("431-01", "431-04", "431-05")
async def test_a_full_text_search_combines_with_another_filter(juliet: RawClient) -> None:
    info = await juliet["xep_0030"].get_info(jid=JID(JULIET))
    assert FULL_TEXT in info["disco_info"]["features"]
    asked = form(field(TEXT_FIELD, "2*"), field("with", f"{ROMEO}/one"))
    found = await entries(juliet, asked)
    assert [one.message.findtext(f"{CLIENT}body") for one in found] == ["21", "23"]


@pytest.mark.behaviour(50)
@pytest.mark.requirement("313-110", "313-111", "313-113")
async def test_the_metadata_are_the_first_and_the_last_result(juliet: RawClient) -> None:
    plugin = juliet["xep_0313"]
    metadata = (await plugin.get_archive_metadata())["mam_metadata"]
    results = [message["mam_result"] async for message in plugin.iterate()]
    for name, result in (("start", results[0]), ("end", results[-1])):
        assert metadata[name]["id"] == result["id"]
        assert metadata[name]["timestamp"] == result["forwarded"]["delay"]["stamp"]


@pytest.mark.behaviour(34)
async def test_a_lost_id_is_told(juliet: RawClient) -> None:
    with pytest.raises(IqError) as raised:
        await juliet["xep_0313"].retrieve(rsm={"after": "a-lost-id"})
    assert raised.value.condition == "item-not-found"


@pytest.mark.behaviour(51)
@pytest.mark.requirement("441-02", "441-03", "441-04", "441-06")
async def test_preferences_are_set_and_read(juliet: RawClient) -> None:
    plugin = juliet["xep_0441"]
    assert await plugin.get_preferences() == ("always", set(), set())
    wishes = ("never", {JID(ROMEO)}, {JID("tybalt@localhost"), JID("nurse@localhost/kitchen")})
    echoed = (await plugin.set_preferences(wishes[0], [*wishes[1]], [*wishes[2]]))["mam_prefs"]
    assert (echoed["default"], echoed["always"], echoed["never"]) == wishes
    assert await plugin.get_preferences() == wishes
