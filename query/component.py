"""The component that a Prosody delegates its users' archive requests to."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slixmpp import Iq, Message, Presence

from query import delegation, disco, mam
from query.delegation import Request
from query.errors import StanzaError
from query.freshness import Freshness
from query.grants import Grants
from query.question import Answer, QueryContext, Question
from query.state_publisher import StatePublishers
from stanzalake.errors import StanzalakeError
from stanzalake.log.watermarks import NO_WATERMARKS
from stanzalake.model.page import Archive
from stanzalake.observability.access_log import Access, AccessLog
from stanzalake.observability.metrics import ARCHIVE_QUERIES, QUERY_MESSAGES, QUERY_SECONDS
from stanzalake.xmpp import component, markup
from stanzalake.xmpp.namespaces import STANZAS, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from stanzalake.config.settings import Settings

MAX_REQUESTS = 1024
"""Requests in work on one connection; more are told to come again."""

ANSWER_WITHIN = 30.0
"""Seconds after which a request is told to come again, the wait for freshness not counted."""
PAGES_AT_ONCE = 8
"""Pages in memory on one connection, and statements for them that a server has at a time."""

DRAIN_WITHIN = 5.0
"""Seconds for which the requests in work may go on once the service is to stop."""

log = logging.getLogger(__name__)


class Component(component.Component):
    """Answers every delegated request once, and every other iq too.

    slixmpp keeps the stream; its stanza handling is passed by, because nothing that strangers
    send shall have an effect that is not written here, and because its send queue reorders.

    Args:
        settings: Names, secret, hosts and limits.
        address: Host and port of the Prosody's component listener.
        archive_of: Gives the archive of an owner, as of now.
        freshness: Waits for what was announced before a request.
        publishers: Gives a request its voice.
        accesses: Where each request is recorded.

    Attributes:
        closing: Whether it takes no more requests, because it is to stop.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the service meet here
        self,
        settings: "Settings",
        address: tuple[str, int],
        archive_of: Callable[[str], Archive],
        freshness: Freshness,
        publishers: StatePublishers,
        accesses: AccessLog,
    ) -> None:
        super().__init__(settings.query_jid, settings.component_secret.get_secret_value(), address)
        self._most = settings.max_query_results
        self._archive_of = archive_of
        self._freshness = freshness
        self._publishers = publishers
        self._accesses = accesses
        self._grants = Grants(settings.hosts)
        self._requests: set[asyncio.Task[None]] = set()
        self.closing = False
        self._turn = asyncio.Semaphore(PAGES_AT_ONCE)
        self._writable = asyncio.Event()
        self._writable.set()
        self._bounced = False
        self.add_filter("in", self._receive)
        self.add_event_handler("disconnected", self._forget)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then finish what is in work and close the stream."""
        closing = asyncio.Event()
        running = asyncio.create_task(super().run(closing))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self.closing = True
        if self._requests:
            await asyncio.wait(self._requests, timeout=DRAIN_WITHIN)
        closing.set()
        await running

    def pause_writing(self) -> None:
        """Stop reading pages: the stream takes them slower than the store gives them (asyncio)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on (asyncio)."""
        self._writable.set()

    def _forget(self, _: Any) -> None:
        """Drop what belonged to the stream: its requests cannot be answered on another one."""
        for request in self._requests:
            request.cancel()
        self._grants.forget()
        self._writable.set()
        self._bounced = False

    def _receive(self, stanza: Any) -> Any:
        if isinstance(stanza, Iq):
            self._on_iq(stanza.xml)
        elif isinstance(stanza, Message):
            self._on_message(stanza.xml)
        elif not isinstance(stanza, Presence):
            return stanza
        return None

    def _on_iq(self, iq: "Element") -> None:
        if iq.get("type") not in {"get", "set"}:
            return
        try:
            if len(iq) == 1 and iq[0].tag == delegation.REQUEST:
                self._admit(iq)
            else:
                self.send_raw(markup.reply(iq, "result", self._disclose(iq)))
        except StanzaError as error:
            self.send_raw(markup.reply(iq, "error", error.markup()))

    def _disclose(self, iq: "Element") -> str:
        if len(iq) != 1:
            raise StanzaError("bad-request", "an iq has exactly one child")
        is_disco = iq.get("type") == "get" and iq[0].tag in {disco.INFO, disco.ITEMS}
        if not is_disco or iq.get("to") != self.boundjid.bare:
            raise StanzaError("service-unavailable")
        return disco.answer(iq[0])

    def _admit(self, iq: "Element") -> None:
        host = iq.get("from", "")
        if not self._grants.known(host):
            raise StanzaError("forbidden")
        if not self._grants.complete(host) or iq.get("to") != self.boundjid.bare:
            raise StanzaError("service-unavailable")
        request = delegation.open_request(iq)
        if self.closing or len(self._requests) >= MAX_REQUESTS:
            self._refuse(request, StanzaError("resource-constraint"))
        else:
            task = asyncio.create_task(self._serve(request))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _serve(self, request: Request) -> None:
        access = Access(
            by=request.requester, owner=request.asked, action="none", through=self.boundjid.bare
        )
        try:
            question = mam.question(request)
            access.action, access.filtered = question.kind, question.filtered
            await self._answer(request, question, access)
            access.outcome = "answered"
        except StanzaError as error:
            access.outcome = error.condition
            self._refuse(request, error)
        except Exception as error:  # noqa: BLE001  # no request stays without an answer
            access.outcome = "failed"
            self._refuse(request, self._explain(error))
        finally:
            self._record(access)

    def _record(self, access: Access) -> None:
        self._accesses.write(access)
        ARCHIVE_QUERIES.labels(access.action, access.outcome).inc()
        QUERY_SECONDS.labels(access.action).observe(access.seconds)
        QUERY_MESSAGES.observe(access.messages)

    async def _answer(self, request: Request, question: Question, access: Access) -> None:
        stable = request.stable
        if question.reads != "nothing":
            # The host does not know where preferences are: it is we who appended them.
            up_to = request.watermarks if question.reads == "messages" else NO_WATERMARKS
            stable = stable and await self._freshness.reached(request.owner, up_to)
        # A few pages in memory at a time, however many are asked for.
        async with asyncio.timeout(ANSWER_WITHIN) as deadline, self._turn:
            archive = self._archive_of(request.owner)
            publisher = self._publishers.of(request)
            if question.activates:
                await self._publishers.activate(publisher, archive)
            answer = await question.answer(QueryContext(archive, self._most, stable, publisher))
            deadline.reschedule(None)
            await self._send(request, answer, access)

    async def _send(self, request: Request, answer: Answer, access: Access) -> None:
        for result in answer.results:
            await self._writable.wait()
            self.send_raw(delegation.seal_message(request, result))
            access.messages += 1
            access.size += len(result.encode())
        self.send_raw(delegation.seal_answer(request, "result", answer.payload))

    def _refuse(self, request: Request, error: StanzaError) -> None:
        self.send_raw(delegation.seal_answer(request, "error", error.markup()))

    def _explain(self, error: Exception) -> StanzaError:
        """Tell the operator what happened, and give what the user is told."""
        if isinstance(error, TimeoutError) or (isinstance(error, StanzalakeError) and error.retry):
            log.warning("%s: a request was put off: %s", self.name, error or "no answer in time")
            return StanzaError("resource-constraint", "the archive is busy: try again later")
        if isinstance(error, StanzalakeError):
            log.error("%s: a request failed: %s", self.name, error)
            return StanzaError("internal-server-error")
        place = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s: a request failed: %s\n%s", self.name, type(error).__name__, place)
        return StanzaError("internal-server-error")

    def _on_message(self, message: "Element") -> None:
        if not self._grants.known(message.get("from")):
            return
        if message.get("type") == "error":
            self._on_bounce(message)
        else:
            self._grants.hear(message)

    def _on_bounce(self, message: "Element") -> None:
        """Say once a connection that results do not arrive, as the client is not told."""
        if self._bounced:
            return
        self._bounced = True
        conditions = message.findall(f"*/{tag(STANZAS, '*')}")
        names = ", ".join(condition.tag.partition("}")[2] for condition in conditions)
        log.error(
            "%s: %s refuses result messages (%s); behind mod_privilege it needs "
            'privileged_entities with message = "outgoing" for this component',
            self.name,
            message.get("from"),
            names or "no reason",
        )
