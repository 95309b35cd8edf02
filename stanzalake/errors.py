"""Every error that is raised on purpose: one root, a stable code, whether retrying helps."""

from typing import ClassVar


class StanzalakeError(Exception):
    """Root of all errors that a caller may want to tell apart.

    Attributes:
        code: Stable name for logs, metrics and scripts.
        retry: True if the same call may succeed later without anybody's help.
    """

    code: ClassVar[str] = "stanzalake"
    retry: ClassVar[bool] = False


class SettingsError(StanzalakeError):
    """A setting cannot be used; the text names the variable, the value and what is allowed."""

    code = "settings"


class InvalidEvent(StanzalakeError):
    """Bytes that are not an event; the text is the reason and never quotes a body."""

    code = "invalid-event"


class InvalidJid(StanzalakeError):
    """Text that Prosody does not take for a JID; the reason does not quote the text."""

    code = "invalid-jid"


class DataDirInUse(StanzalakeError):
    """Another process holds the data directory."""

    code = "data-dir-in-use"


class LogUnavailable(StanzalakeError):
    """The log did not take or give records this time."""

    code = "log-unavailable"
    retry = True


class StoreUnavailable(StanzalakeError):
    """ClickHouse did not answer this time."""

    code = "store-unavailable"
    retry = True


class AnswerCut(StoreUnavailable):
    """ClickHouse began to answer, and met an error that it does not tell whole."""

    code = "answer-cut"


class StoreRefused(StanzalakeError):
    """ClickHouse answered, and said no: the statement or the rows are at fault."""

    code = "store-refused"


class RowRefused(StoreRefused):
    """ClickHouse does not take a row, or one of several: its values are at fault, not the rest."""

    code = "row-refused"


class ResultTooLarge(StoreRefused):
    """The rows of a statement pass the bound that it was given."""

    code = "result-too-large"


class StoreDenied(StanzalakeError):
    """ClickHouse does not know the user, or does not let it do this: an operator's to mend."""

    code = "store-denied"


class TooManyRejected(StanzalakeError):
    """One record after the other is rejected: something else than the records is at fault."""

    code = "too-many-rejected"


class NotFound(StanzalakeError):
    """What was asked for by its name is not there."""

    code = "not-found"


class SchemaBehind(StanzalakeError):
    """The store lacks migrations that this version needs."""

    code = "schema-behind"


class LogRefused(StanzalakeError):
    """The log answered, and said no: rights, settings or a topic are at fault."""

    code = "log-refused"


class SourceUnavailable(StanzalakeError):
    """What is to be imported cannot be read, or not to its end."""

    code = "source-unavailable"


class ImportIncomplete(StanzalakeError):
    """An import left something out that it was asked for."""

    code = "import-incomplete"


class OutputFailed(StanzalakeError):
    """What a command gives could not be written where it was wanted."""

    code = "output-failed"


class NotCarriedOut(StanzalakeError):
    """What was asked for is recorded, and nobody has done it in time."""

    code = "not-carried-out"
