"""Errors that callers tell apart: a common root, a stable code, and whether a retry may help."""

from typing import ClassVar


class StanzalakeError(Exception):
    """Root of Stanzalake's errors.

    Attributes:
        code: Stable name for logs, metrics and scripts.
        retry: Whether the same call may succeed later without intervention.
    """

    code: ClassVar[str] = "stanzalake"
    retry: ClassVar[bool] = False


class SettingsError(StanzalakeError):
    """Invalid setting; the text names the variable, the value and the allowed values."""

    code = "settings"


class InvalidEvent(StanzalakeError):
    """Bytes that are not a valid event; the text is the reason and never quotes a body."""

    code = "invalid-event"


class InvalidJid(StanzalakeError, ValueError):
    """Text that Prosody does not take for a JID; the reason does not quote the text."""

    code = "invalid-jid"


class InvalidStanza(InvalidEvent):
    """A stanza that Prosody's XML parser would not accept, or that is no message."""

    code = "invalid-stanza"


class DataDirInUse(StanzalakeError):
    """Another process holds the data directory."""

    code = "data-dir-in-use"


class LogUnavailable(StanzalakeError):
    """The log cannot be read or written at the moment."""

    code = "log-unavailable"
    retry = True


class LogDamaged(LogUnavailable):
    """The file of the embedded log is damaged; services wait until an operator has recovered it."""

    code = "log-damaged"


class StoreUnavailable(StanzalakeError):
    """ClickHouse does not answer at the moment."""

    code = "store-unavailable"
    retry = True


class AnswerCut(StoreUnavailable):
    """ClickHouse failed in the middle of a result, without a readable error."""

    code = "answer-cut"


class StoreRefused(StanzalakeError):
    """ClickHouse rejected the statement or the rows."""

    code = "store-refused"


class BackupIncomplete(StoreRefused):
    """ClickHouse has made a backup that lacks a part, as on a full disk, and calls it done."""

    code = "backup-incomplete"


class RowRefused(StoreRefused):
    """ClickHouse rejected the values of at least one row of an insert."""

    code = "row-refused"


class StatementTimeout(StoreUnavailable):
    """A statement exceeds the time set for it."""

    code = "statement-timeout"


class ResultTooLarge(StoreRefused):
    """The result of a statement exceeds the limit set for it."""

    code = "result-too-large"


class StoreDenied(StanzalakeError):
    """ClickHouse does not know the user, or denies a right; needs an operator."""

    code = "store-denied"


class TooManyRejected(StanzalakeError):
    """Many consecutive records were rejected, which points to a common cause."""

    code = "too-many-rejected"


class NotFound(StanzalakeError):
    """The named object does not exist."""

    code = "not-found"


class SchemaBehind(StanzalakeError):
    """The store's schema lacks migrations that this version needs."""

    code = "schema-behind"


class SchemaAhead(StanzalakeError):
    """The store's schema is of a later version than this one works on."""

    code = "schema-ahead"


class LogRefused(StanzalakeError):
    """The log rejected a request because of rights, settings or a topic."""

    code = "log-refused"


class SourceUnavailable(StanzalakeError):
    """The source of an import cannot be read to the end."""

    code = "source-unavailable"


class ImportIncomplete(StanzalakeError):
    """An import skipped part of its source."""

    code = "import-incomplete"


class OutputFailed(StanzalakeError):
    """The output of a command could not be written."""

    code = "output-failed"


class ServiceUnavailable(StanzalakeError):
    """No service answers at its HTTP address."""

    code = "service-unavailable"
    retry = True


class OutputClosed(StanzalakeError):
    """The reader of a command's output needs no more."""

    code = "output-closed"


class NotCarriedOut(StanzalakeError):
    """A recorded request was not carried out in time."""

    code = "not-carried-out"
