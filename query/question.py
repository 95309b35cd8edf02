"""Questions: requests that make sense, and the context in which they are answered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from query.errors import StanzaError
from query.request import Result, RoomRights
from query.state_publisher import StatePublisher
from stanzalake.model.history import History
from stanzalake.model.page import Archive, ArchiveRetention

Reads = Literal["nothing", "messages", "preferences"]


class Answer(NamedTuple):
    """An answer.

    Attributes:
        payload: Child of the iq's result, as markup.
        results: Messages of the page, in sending order.
        history: The owner's history in force afterwards; None if not read or not complete.
        retention: For how long the archive is kept; None if not asked for.
    """

    payload: str
    results: Sequence[Result] = ()
    history: History | None = None
    retention: ArchiveRetention | None = None


class QueryContext(NamedTuple):
    """Source and limits of an answer.

    Attributes:
        archive: The requester's own archive, or a room's.
        limit: Items in a page at most.
        stable: False if the archive may still miss messages older than the question.
        publisher: Publishes changes of the requester's state.
        room: The requester's rights if the archive is a room's.
    """

    archive: Archive
    limit: int
    stable: bool
    publisher: StatePublisher
    room: RoomRights | None = None


class Question(Protocol):
    """A request that makes sense."""

    kind: ClassVar[str]
    """Label in metrics and the access log."""

    reads: ClassVar[Reads]
    """Part of the archive that the answer depends on."""

    @property
    def filtered(self) -> bool:
        """Whether the question is about a single peer."""

    @property
    def by_text(self) -> bool:
        """Whether texts are searched, which may take long."""

    activates: ClassVar[bool]
    """Whether the question starts an archive under smart archiving."""

    async def answer(self, context: QueryContext) -> Answer:
        """Answer the question.

        Raises:
            StanzaError: item-not-found for an id that is not in the archive.
            StoreUnavailable: The store did not answer this time.
        """


async def find_all(archive: Archive, ids: Iterable[str | None]) -> Mapping[str, int]:
    """Return the positions of the ids that are given.

    Raises:
        StanzaError: item-not-found if the archive has not got one of them (XEP-0059 §2.2).
        StoreUnavailable: The store did not answer this time.
    """
    named = {id_ for id_ in ids if id_}
    places = await archive.find(named) if named else {}
    if len(places) < len(named):
        raise StanzaError("item-not-found")
    return places
