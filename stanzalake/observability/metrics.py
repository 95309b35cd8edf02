"""Catalogue of the metrics of all services.

A test checks that each metric is used, and documented in docs/operating.md. Labels never hold a
JID. Counters exist from the start with each value of their labels, at 0: an alert sees their first
increase, too.
"""

from itertools import product

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)
_ROWS = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 1_000_000)
_MESSAGES = (0, 1, 10, 25, 50, 100, 250, 1_000)


def _counter(name: str, text: str, **values: tuple[str, ...]) -> Counter:
    """Create a counter with all its series; `values` are those of each label."""
    counter = Counter(name, text, list(values))
    for labels in product(*values.values()):
        counter.labels(*labels)
    return counter


# Named in the operator's guide.
ARCHIVE_SIZE = Gauge("prosody_archive_size_bytes", "Bytes that the archive takes in the store")
ARCHIVE_QUERIES = _counter(
    "prosody_archive_query_total",
    "Requests to archives, by what was asked and how it ended",
    kind=("search", "inbox", "metadata", "form", "prefs-get", "prefs-set", "none"),
    outcome=(
        *("answered", "interrupted", "failed"),
        *("bad-request", "feature-not-implemented", "forbidden", "internal-server-error"),
        *("item-not-found", "policy-violation", "resource-constraint", "service-unavailable"),
    ),
)
STORAGE_OPERATIONS = _counter(
    "prosody_storage_operations_total",
    "Operations on the store, by kind: insert, select or command",
    store=("archive",),
    operation=("insert", "select", "command"),
)

PART_UP = Gauge(
    "stanzalake_up", "Whether a component is connected, or the processor is working", ["part"]
)

EVENTS_TAKEN = _counter(
    "stanzalake_ingest_events_total",
    "Events from taps, by how they ended",
    outcome=("taken", "rejected"),
)
WRITER_CONFLICTS = Counter(
    "stanzalake_ingest_writer_conflicts_total",
    "Batches of a Prosody that came while another one served the same VirtualHost",
)
APPEND_SECONDS = Histogram(
    "stanzalake_ingest_append_seconds", "Time to make a batch durable in the log", buckets=_SECONDS
)

EVENTS_PROCESSED = _counter(
    "stanzalake_processor_events_total",
    "Events of the log, by how they ended: stored, state, filtered or rejected",
    outcome=("stored", "state", "filtered", "rejected"),
)
BATCH_ROWS = Histogram("stanzalake_batch_rows", "Rows in one insert", buckets=_ROWS)
FLUSH_SECONDS = Histogram(
    "stanzalake_flush_seconds",
    "Time to write and commit a batch, by the cause of its end: rows, bytes, age, awaited (by a "
    "page), quiet (no more records) or stop",
    ["trigger"],
    buckets=_SECONDS,
)
STAMP_TO_QUERYABLE = Histogram(
    "stanzalake_stamp_to_queryable_seconds",
    "Age of the oldest message of a batch when it could be read",
    buckets=_SECONDS,
)
OLDEST_UNARCHIVED = Gauge(
    "stanzalake_oldest_unarchived_seconds", "Seconds since the oldest batch in hand was complete"
)
RECORDS_LOST = Counter(
    "stanzalake_log_lost_records_total",
    "Records that Kafka deleted before a processor had read them",
    ["partition"],
)
LAST_CLEANUP = Gauge(
    "stanzalake_last_cleanup_timestamp_seconds",
    "Unix time of the last removal of expired and erased messages; 0 for none since the start",
)
CLEANUP_INTERVAL = Gauge(
    "stanzalake_cleanup_interval_seconds",
    "Seconds between removals of expired and erased messages, as set",
)
PARTITION_LAG = Gauge(
    "stanzalake_partition_lag_records", "Records behind the end of the log", ["partition"]
)

QUERY_SECONDS = Histogram(
    "stanzalake_query_seconds", "Time to answer a request, by kind", ["kind"], buckets=_SECONDS
)
QUERY_MESSAGES = Histogram(
    "stanzalake_query_messages", "Messages given in answer to a request", buckets=_MESSAGES
)
FRESHNESS_SECONDS = Histogram(
    "stanzalake_freshness_wait_seconds",
    "Time that a request waited for what was announced before it",
    buckets=_SECONDS,
)
FRESHNESS_FAILURES = Counter(
    "stanzalake_freshness_failures_total",
    "Pages given while the log could not be asked for commits, by the error's code",
    ["error"],
)
FRESHNESS_TIMEOUTS = Counter(
    "stanzalake_freshness_timeouts_total", "Pages given though older messages were on their way"
)
SNAPSHOTS = Counter(
    "stanzalake_page_snapshots_total",
    "Snapshots of archives for pages: loaded, extended by newer messages, or current",
    ["outcome"],
)

ALL = tuple(value for name, value in list(globals().items()) if name.isupper() and name[0] != "_")
"""All metrics."""
