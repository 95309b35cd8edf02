"""A question: a request that makes sense, and what it is answered from."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from query.state_publisher import StatePublisher
from stanzalake.model.page import Archive

Reads = Literal["nothing", "messages", "preferences"]


class Answer(NamedTuple):
    """What is sent: the messages' contents in their order, then the iq's, as markup."""

    payload: str
    results: Sequence[str] = ()


class QueryContext(NamedTuple):
    """What a question is answered from.

    Attributes:
        archive: The requester's own archive.
        most: Items in a page at most.
        stable: False if the archive may still miss what is older than the question.
        publisher: What the requester says for the archive.
    """

    archive: Archive
    most: int
    stable: bool
    publisher: StatePublisher


class Question(Protocol):
    """A request that makes sense."""

    kind: ClassVar[str]
    """What it is called in metrics."""

    reads: ClassVar[Reads]
    """What of the archive the answer depends on."""

    @property
    def filtered(self) -> bool:
        """Whether it is about one other party only."""

    activates: ClassVar[bool]
    """Whether asking it begins an archive, under smart archiving."""

    async def answer(self, reading: QueryContext) -> Answer:
        """Answer it.

        Raises:
            StanzaError: item-not-found for an id that the archive does not have.
            StoreUnavailable: The store did not answer this time.
        """
