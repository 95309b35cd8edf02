"""The component to which a server forwards its users' archive requests."""

import asyncio
import logging
import traceback
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from slixmpp import Iq, Message

from query import delegation, disco, mam, protocol
from query.errors import StanzaError
from query.freshness import Freshness
from query.grants import Grants
from query.question import QueryContext, Question
from query.request import Envelope, Reply, Request
from query.state import state_after
from query.state_publisher import StatePublishers
from query.turns import Turns
from stanzalake.errors import StanzalakeError
from stanzalake.log.watermarks import NO_WATERMARKS
from stanzalake.model.page import Archive, count_bytes
from stanzalake.observability.access_log import Access, AccessLog
from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import ARCHIVE_QUERIES, QUERY_MESSAGES, QUERY_SECONDS
from stanzalake.xmpp import component, markup
from stanzalake.xmpp.namespaces import STANZAS, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from stanzalake.config.settings import Settings

MAX_REQUESTS = 1024
"""Requests at work or waiting on a connection; more are refused with resource-constraint."""
MAX_ACCOUNT_REQUESTS = 256
"""Requests of a single account, or of another server's accounts, among them."""

ANSWER_WITHIN = 30.0
"""Seconds to answer a request, the wait for freshness not counted; then resource-constraint."""
LOADS_AT_ONCE = 32
"""Requests on a connection whose snapshots are loaded, or whose pages are read, at a time."""
PAGES_AT_ONCE = 8
"""Pages read and sent at a time on a connection."""
ACCOUNT_PAGES_AT_ONCE = 2
"""Pages of a single account among them; one with the embedded store, as it takes both threads."""

SEARCHES_AT_ONCE = 4
"""Full-text searches among them: others' pages wait for none of a large archive."""

DRAIN_WITHIN = 5.0
"""Seconds to finish requests when the service stops."""

log = logging.getLogger(__name__)


class Archives(Protocol):
    """Opens archives."""

    async def prepare(self, request: Request, *, current: bool, inbox: bool = False) -> bool:
        """Load a snapshot for the archive of a request, before its turn for a page.

        Args:
            request: The request.
            current: Whether the store has all messages announced before the request.
            inbox: Whether the request is for an account's inbox.

        Returns:
            Whether the archive may be opened as current.

        Raises:
            StoreUnavailable: The store does not answer.
        """

    async def archive(self, request: Request, *, current: bool) -> Archive:
        """Open the archive of a request, as of now.

        Args:
            request: The request.
            current: The result of `prepare`.

        Raises:
            StoreUnavailable: The store does not answer.
        """


class Component(component.Component):
    """Answers every forwarded request once, and every other iq too.

    slixmpp keeps the stream; its stanza handling is bypassed, because stanzas from strangers may
    have no effect that is not written here, and because its send queue reorders.

    Args:
        settings: Names, secret, hosts and limits.
        address: Host and port of the Prosody's component listener.
        archives: Opens the archive of a request.
        freshness: Waits for the messages announced before a request.
        publishers: Makes the state publisher of a request.
        accesses: Records each request.

    Attributes:
        closing: Whether the component takes no more requests, because it is to stop.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the service meet here
        self,
        settings: "Settings",
        address: tuple[str, int],
        archives: "Archives",
        freshness: Freshness,
        publishers: StatePublishers,
        accesses: AccessLog,
    ) -> None:
        super().__init__(settings.query_jid, settings.component_secret.get_secret_value(), address)
        self._limit = settings.max_query_results
        self._archives = archives
        self._freshness = freshness
        self._publishers = publishers
        self._accesses = accesses
        self._grants = Grants(settings.hosts)
        self._requests: dict[asyncio.Task[None], str] = {}
        self.closing = False
        account_pages = 1 if settings.embedded_store else ACCOUNT_PAGES_AT_ONCE
        self._loads = Turns(LOADS_AT_ONCE, account_pages)
        self._pages = Turns(PAGES_AT_ONCE, account_pages)
        self._searches = Turns(SEARCHES_AT_ONCE, account_pages)
        self._delays = LogOnce(__name__, self.name)
        self._writable = asyncio.Event()
        self._writable.set()
        self._bounced = False
        self.add_filter("in", self._receive)
        self.add_event_handler("disconnected", self._forget)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then finish the requests at work and close the stream."""
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
        """Pause sending: the stream is slower than the store (asyncio)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Resume sending (asyncio)."""
        self._writable.set()

    def _forget(self, _: Any) -> None:
        """Drop the state of a stream: no other stream can carry answers to its requests."""
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
        else:
            return stanza
        return None

    def _on_iq(self, iq: "Element") -> None:
        if iq.get("type") not in {"get", "set"}:
            return
        try:
            if len(iq) == 1 and iq[0].tag in {protocol.REQUEST, delegation.REQUEST}:
                self._admit(iq)
            else:
                self.send_raw(markup.reply(iq, "result", self._disclose(iq)))
        except StanzaError as error:
            self.send_raw(markup.reply(iq, "error", error.markup()))
        except Exception as error:  # noqa: BLE001  # it would end the stream, and with it all requests
            self.send_raw(markup.reply(iq, "error", self._explain(error).markup()))

    def _disclose(self, iq: "Element") -> str:
        if len(iq) != 1:
            raise StanzaError("bad-request", "an iq has exactly one child")
        is_disco = iq.get("type") == "get" and iq[0].tag in {disco.INFO, disco.ITEMS}
        if not is_disco or iq.get("to") != self.boundjid.bare:
            raise StanzaError("service-unavailable")
        return disco.answer(iq[0])

    def _admit(self, iq: "Element") -> None:
        envelope = self._open(iq)
        share = envelope.request.share
        if self.closing or not self._has_capacity(share):
            self._refuse(envelope, StanzaError("resource-constraint"))
            return
        task = asyncio.create_task(self._serve(envelope))
        self._requests[task] = share
        task.add_done_callback(self._requests.pop)

    def _open(self, iq: "Element") -> Envelope:
        """Open an envelope; only a known host's own requests are a user's.

        Raises:
            StanzaError: For the host: there is no user to answer.
        """
        host = iq.get("from", "")
        if not self._grants.known(host):
            raise StanzaError("forbidden")
        if iq.get("to") != self.boundjid.bare:
            raise StanzaError("service-unavailable")
        if iq[0].tag == protocol.REQUEST:
            return protocol.open_request(iq)
        if not self._grants.complete(host):
            raise StanzaError("service-unavailable")
        return delegation.open_request(iq)

    def _has_capacity(self, share: str) -> bool:
        same = sum(other == share for other in self._requests.values())
        return len(self._requests) < MAX_REQUESTS and same < MAX_ACCOUNT_REQUESTS

    async def _serve(self, envelope: Envelope) -> None:
        request = envelope.request
        access = Access(
            by=request.requester, owner=request.asked, action="none", through=self.boundjid.bare
        )
        try:
            question = mam.question(request)
            access.action, access.filtered = question.kind, question.filtered
            await self._answer(envelope, question, access)
            access.outcome = "answered"
        except StanzaError as error:
            access.outcome = error.condition
            self._refuse(envelope, error)
        except Exception as error:  # noqa: BLE001  # no request stays without an answer
            access.outcome = "failed"
            self._refuse(envelope, self._explain(error))
        finally:
            # A host that wants a state reads no messages.
            if request.iq is not None:
                self._record(access)

    def _record(self, access: Access) -> None:
        self._accesses.write(access)
        ARCHIVE_QUERIES.labels(access.action, access.outcome).inc()
        QUERY_SECONDS.labels(access.action).observe(access.seconds)
        QUERY_MESSAGES.observe(access.messages)

    async def _answer(self, envelope: Envelope, question: Question, access: Access) -> None:
        request = envelope.request
        stable = await self._is_fresh(request, question)
        # A question about no messages has not waited for them.
        current = stable and question.reads == "messages"
        searches = self._searches.take(request.share) if question.by_text else nullcontext()
        async with (
            asyncio.timeout(ANSWER_WITHIN) as deadline,
            searches,
            self._loads.take(request.share),
        ):
            # Owners who wait for their snapshots share a statement: many may, as these are bounded.
            inbox = question.kind == "inbox" and request.room is None
            current = await self._archives.prepare(request, current=current, inbox=inbox)
            # A few pages in memory at a time, however many are asked for.
            async with self._pages.take(request.share):
                # Only now: what was proven current before the wait may not be any more.
                archive = await self._archives.archive(request, current=current)
                reply = await self._reply(request, question, archive, stable=stable)
                self._delays.end()
                deadline.reschedule(None)
                await self._send(envelope, reply, access)

    async def _reply(
        self, request: Request, question: Question, archive: Archive, *, stable: bool
    ) -> Reply:
        publisher = self._publishers.of(request)
        context = QueryContext(archive, self._limit, stable, publisher, request.room)
        activated = None
        if question.activates and request.room is None:
            activated = await self._publishers.activate(publisher, archive)
        answer = await question.answer(context)
        known = await state_after(answer, context, activated) if request.wants_state else None
        return Reply("result", answer.payload, answer.results, known)

    async def _is_fresh(self, request: Request, question: Question) -> bool:
        """Wait for the events before a request; return whether the store has them all."""
        if question.reads == "nothing" and not (request.wants_state and question.activates):
            return request.stable
        # State was appended to the log by this service, so the host has no watermark of it.
        by_host = question.reads == "messages" and not request.wants_state
        up_to = request.watermarks if by_host else NO_WATERMARKS
        return request.stable and await self._freshness.reached(request.owner, up_to)

    async def _send(self, envelope: Envelope, reply: Reply, access: Access) -> None:
        for stanza in envelope.seal(reply):
            await self._writable.wait()
            self.send_raw(stanza)
        access.messages = len(reply.results)
        access.size = sum(count_bytes(result.content) for result in reply.results)

    def _refuse(self, envelope: Envelope, error: StanzaError) -> None:
        for stanza in envelope.seal(Reply("error", error.markup())):
            self.send_raw(stanza)

    def _explain(self, error: Exception) -> StanzaError:
        """Log a failure, and give the error for the user."""
        if isinstance(error, TimeoutError) or (isinstance(error, StanzalakeError) and error.retry):
            self._delays.begin(f"requests are put off: {str(error) or 'no answer in time'}")
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
