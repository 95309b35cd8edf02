"""Settings from environment variables, validated at start and frozen.

An error names the variable, the value and the allowed values; values of secrets are never shown.
"""

import os
import re
from collections.abc import Iterator, Mapping
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from stanzalake.config import duration
from stanzalake.errors import InvalidJid, SettingsError
from stanzalake.model import jid
from stanzalake.model.position import MIN_KEY_LENGTH
from stanzalake.model.retention import Retention

_DEFAULT_ZONE = "UTC"
DEFAULT_EXCLUSIONS = frozenset(
    {"http://jabber.org/protocol/chatstates", "urn:xmpp:jingle-message:0"}
)
_OURS = re.compile(r"STANZALAKE_\w+|PROSODY_(ARCHIVE|MAM)_\w+")
_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_PREFIX = r"^[A-Za-z0-9_.-]{0,64}$"
_CLUSTER = r"^[A-Za-z0-9_.-]{0,64}$"
_DSN = re.compile(r"chdb:///?[^?#]+|(?:clickhouses?|https?)://(?:[^/?#@]*@)?[^/?#@]+(?:/\w+)?/?")
_DSN_FORM = (
    "clickhouse://USER:PASSWORD@HOST:PORT/DATABASE, clickhouses:// for TLS, chdb:///DIRECTORY, "
    "or chdb://:memory:; what is special in a URL is percent-encoded"
)
_MAX_ADDRESSES = 64
_REMOVED = {
    "STANZALAKE_PROCESSOR_PORT": "STANZALAKE_PROCESSOR_PORT is not a setting any more: remove it; "
    "STANZALAKE_HTTP_ADDRESS serves the processor's metrics and health"
}
_HIDDEN = "(set, and secret)"
_MIN_PASSWORD = 12
"""Characters of a password for analysts at least."""
_MAX_PORT = 65_535


def _split(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _periods(value: object) -> object:
    """Parse HOST=PERIOD pairs."""
    pairs = [item.partition("=") for item in _split(value)] if isinstance(value, str) else []
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("expected HOST=PERIOD, with commas")
    hosts = {_domain(host.strip()): duration.parse(period) for host, _, period in pairs}
    if len(hosts) < len(pairs):
        raise ValueError("a host is named twice")
    return hosts


def _items(value: object) -> object:
    """Split comma-separated text; the empty text is the empty list."""
    return _split(value) if isinstance(value, str) else value


def _seconds(value: object) -> object:
    return duration.parse(value) if isinstance(value, str) else value


def _interval(value: object) -> object:
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError("expected seconds, or a number with min, h, d or w")
    return seconds


def _policy(value: object) -> object:
    """Translate the values of mod_mam's `default_archive_policy`."""
    return {"always": "true", "never": "false"}.get(str(value), value)


def _switch(value: object) -> object:
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false")


def _address(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise ValueError(f"expected HOST:PORT, not {value!r}")
    return host.strip("[]"), int(port)


def _addresses(values: object) -> object:
    items = _items(values)
    if not isinstance(items, tuple):
        return items
    return tuple(_address(item) if isinstance(item, str) else item for item in items)


def _domain(value: str) -> str:
    """Normalise a domain as Prosody does the hosts of its configuration."""
    try:
        domain = jid.parse(value)
    except InvalidJid:
        domain = None
    # Nameprep lets spaces through.
    if domain is None or str(domain) != domain.domain or re.search(r"\s", domain.domain):
        raise ValueError(f"expected a domain, not {value!r}")
    return domain.domain


def _keys(value: SecretStr) -> SecretStr:
    keys = _split(value.get_secret_value())
    if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(f"expected keys of at least {MIN_KEY_LENGTH} characters, with commas")
    return value


def _filled(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("expected a secret, the component_secret of Prosody's configuration")
    return value


def _dsn(value: SecretStr | None) -> SecretStr | None:
    """Check the form of a DSN; the error does not quote the value, which holds a password."""
    if value is not None and not _is_dsn(value.get_secret_value()):
        raise ValueError(f"expected {_DSN_FORM}")
    return value


def _is_dsn(text: str) -> bool:
    if not _DSN.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme == "chdb" or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        return False


def _zone(name: str) -> str:
    if name == _DEFAULT_ZONE:
        return name  # without a walk through the database, which every command would wait for
    known = available_timezones()
    # A machine without the database leaves it to ClickHouse, which has its own.
    if (known and name not in known) or not re.fullmatch(r"[\w+/-]{1,64}", name, re.ASCII):
        raise ValueError("allowed is a name of the IANA time zone database, such as Europe/Berlin")
    return name


def _of_a_server(value: Any, info: ValidationInfo) -> Any:
    """Refuse a server's setting with the embedded store, which would ignore it."""
    if not value or "clickhouse_dsn" not in info.data:
        return value
    dsn = info.data["clickhouse_dsn"]
    if dsn is None or urlsplit(dsn.get_secret_value()).scheme == "chdb":
        raise ValueError("it needs STANZALAKE_CLICKHOUSE_DSN to name a server")
    return value


def _of_the_engine(value: Any, info: ValidationInfo) -> Any:
    """Require the embedded store, as a server has users of its own, and an address of loopback."""
    dsn = info.data.get("clickhouse_dsn")
    if value and dsn is not None:
        raise ValueError("a ClickHouse server, STANZALAKE_CLICKHOUSE_DSN, has users of its own")
    if any(not _is_loopback(host) for host, _ in value):
        raise ValueError("expected an address of loopback, such as 127.0.0.1:8123")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _of_analysts(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Require a password that cannot be guessed exactly with an address for analysts."""
    if value is None and info.data.get("analysts"):
        raise ValueError("STANZALAKE_ANALYSTS_ADDRESS needs it")
    if value is not None and len(value.get_secret_value()) < _MIN_PASSWORD:
        raise ValueError(f"expected a password of at least {_MIN_PASSWORD} characters")
    return value


def _file(value: Path | None) -> Path | None:
    if value is not None:
        try:
            value.open("rb").close()
        except OSError as error:
            raise ValueError(f"expected a file that can be read: {error.strerror}") from None
    return value


def _unset(value: object) -> object:
    """Treat an empty variable, as compose files pass it on, as unset."""
    return None if value == "" else value


def _of_kafka(value: Any, info: ValidationInfo) -> Any:
    """Refuse a setting of Kafka with the embedded log, which would ignore it."""
    if value != "PLAINTEXT" and info.data.get("kafka_bootstrap_servers") == ():
        raise ValueError("it needs STANZALAKE_KAFKA_BOOTSTRAP_SERVERS to name the brokers")
    return value


def _of_sasl(value: Any, info: ValidationInfo) -> Any:
    """Require the parts of a SASL login exactly with a SASL security protocol."""
    protocol = info.data.get("kafka_security_protocol", "")
    variable = f"STANZALAKE_KAFKA_SECURITY_PROTOCOL={protocol}"
    if protocol.startswith("SASL") and value is None:
        raise ValueError(f"{variable} needs it")
    if protocol in {"PLAINTEXT", "SSL"} and value is not None:
        raise ValueError(f"{variable} has no use for it")
    return value


def _of_tls(value: Any, info: ValidationInfo) -> Any:
    """Refuse a TLS file with a plain-text connection, which would ignore it."""
    protocol = info.data.get("kafka_security_protocol", "")
    if value is not None and protocol.endswith("PLAINTEXT"):
        raise ValueError(f"STANZALAKE_KAFKA_SECURITY_PROTOCOL={protocol} has no use for it")
    return value


def _of_certificate(value: Any, info: ValidationInfo) -> Any:
    """Require a certificate and its key together."""
    if "kafka_cert_file" in info.data and (value is None) != (info.data["kafka_cert_file"] is None):
        raise ValueError("it goes together with STANZALAKE_KAFKA_CERT_FILE")
    return value


Seconds = Annotated[int | None, BeforeValidator(_seconds)]
Periods = Annotated[Mapping[str, int | None], BeforeValidator(_periods)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Domain = Annotated[str, AfterValidator(_domain)]
Items = Annotated[tuple[str, ...], BeforeValidator(_items)]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(_items)]
Dsn = Annotated[SecretStr | None, AfterValidator(_dsn)]
Addresses = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_addresses)]
TlsFile = Annotated[
    Path | None, BeforeValidator(_unset), AfterValidator(_file), AfterValidator(_of_tls)
]


def _setting(name: str, default: Any, description: str, **limits: Any) -> Any:
    """Declare a setting; the default is written as in the environment."""
    return Field(default, alias=name, description=description, **limits)


class Settings(BaseModel):
    """All settings. The alias of a field is its environment variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    expires_after: Seconds = _setting(
        "PROSODY_ARCHIVE_EXPIRES_AFTER",
        "1y",
        f"How long a message is kept: {duration.ALLOWED}",
    )
    expires_after_by_host: Periods = _setting(
        "STANZALAKE_EXPIRE_HOSTS",
        "",
        "The same for single hosts, with commas: example.org=90d,conference.example.org=never",
    )
    policy: Annotated[Literal["false", "roster", "true"], BeforeValidator(_policy)] = _setting(
        "PROSODY_ARCHIVE_POLICY",
        "roster",
        "What is archived of a user who set nothing: false (or never), roster, true (or always)",
    )
    max_query_results: int = _setting(
        "PROSODY_ARCHIVE_MAX_QUERY_RESULTS",
        250,
        "Messages in one page at most, and in a page of no stated size",
        ge=1,
        le=1000,
    )
    cleanup_interval: Annotated[int, BeforeValidator(_interval)] = _setting(
        "PROSODY_ARCHIVE_CLEANUP_INTERVAL",
        86_400,
        "Seconds (or 12h, 1d) between removals of expired bytes; readers never see them meanwhile",
        ge=60,
        le=366 * 86_400,
    )
    smart: Switch = _setting(
        "PROSODY_MAM_SMART_ENABLE",
        "false",
        "Whether users are archived only once they have asked for their archive: true or false",
    )
    compression: Switch = _setting(
        "PROSODY_ARCHIVE_COMPRESSION",
        "true",
        "Whether stanzas are compressed, stored and on the way to a server: true or false",
    )
    exclude_namespaces: Items = _setting(
        "PROSODY_ARCHIVE_EXCLUDE_NAMESPACES",
        "",
        "Namespaces, with commas, of elements never stored, besides the two defaults",
    )
    keep_retracted: Switch = _setting(
        "STANZALAKE_KEEP_RETRACTED",
        "false",
        "Whether the content of retracted messages stays in the store, for "
        "stanzalake export --with-retracted alone: true or false",
    )
    store: str = _setting(
        "PROSODY_ARCHIVE_STORE",
        "messages",
        "Name of the table in use",
        pattern=_IDENTIFIER,
    )
    hosts: Domains = _setting(
        "STANZALAKE_HOSTS",
        ...,
        "The VirtualHosts and MUC components of Prosody, with commas, whose archives these are",
        min_length=1,
    )
    component_secret: Annotated[SecretStr, AfterValidator(_filled)] = _setting(
        "STANZALAKE_COMPONENT_SECRET",
        ...,
        "The component_secret of both components in Prosody's configuration",
    )
    id_keys: Annotated[SecretStr, AfterValidator(_keys)] = _setting(
        "STANZALAKE_ID_KEYS",
        ...,
        "Keys that seal message ids, with commas; the same as Prosody's. The first seals, all open",
    )
    prosody: Addresses = _setting(
        "STANZALAKE_PROSODY",
        "127.0.0.1:5347",
        "HOST:PORT of Prosody's component listeners, with commas",
        min_length=1,
        max_length=_MAX_ADDRESSES,
    )
    ingest_jid: Domain = _setting(
        "STANZALAKE_INGEST_JID",
        "ingest.stanzalake",
        "Name of the ingest component in Prosody's configuration",
    )
    query_jid: Domain = _setting(
        "STANZALAKE_QUERY_JID",
        "query.stanzalake",
        "Name of the query component in Prosody's configuration",
    )
    data_dir: Path = _setting(
        "STANZALAKE_DATA_DIR",
        "/var/lib/stanzalake",
        "Directory of the embedded log and store",
    )
    clickhouse_dsn: Dsn = _setting(
        "STANZALAKE_CLICKHOUSE_DSN",
        None,
        "Where the store is: clickhouse://USER:PASSWORD@HOST:8123/DATABASE, or clickhouses:// for "
        "TLS; chdb://:memory: keeps nothing. "
        "Default: the engine in the process, in the data directory",
    )
    clickhouse_admin_dsn: Annotated[Dsn, AfterValidator(_of_a_server)] = _setting(
        "STANZALAKE_CLICKHOUSE_ADMIN_DSN",
        None,
        "The same store for a user that may change the schema. Default: STANZALAKE_CLICKHOUSE_DSN",
    )
    clickhouse_ca_file: Annotated[
        Path | None, AfterValidator(_file), AfterValidator(_of_a_server)
    ] = _setting(
        "STANZALAKE_CLICKHOUSE_CA_FILE",
        None,
        "File of the authorities whose certificates are trusted. Default: the system's",
    )
    clickhouse_timeout: int = _setting(
        "STANZALAKE_CLICKHOUSE_TIMEOUT",
        30,
        "Seconds that a ClickHouse server may be silent before it counts as away",
        ge=1,
        le=600,
    )
    clickhouse_cluster: Annotated[str, AfterValidator(_of_a_server)] = _setting(
        "STANZALAKE_CLICKHOUSE_CLUSTER",
        "",
        "Name of the ClickHouse cluster that the tables are spread over. Default: a single server",
        pattern=_CLUSTER,
    )
    clickhouse_async_insert: Switch = _setting(
        "STANZALAKE_CLICKHOUSE_ASYNC_INSERT",
        "false",
        "Whether a ClickHouse server gathers the messages of several processors in one part, for "
        "which each insert waits 50 to 200 ms: true or false",
    )
    partition_by: Literal["month", "quarter", "year"] = _setting(
        "STANZALAKE_PARTITION_BY",
        "year",
        "Partitions of the messages table: year for cheap pages; quarter or month where terabytes "
        "expire. stanzalake repartition changes an existing table",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = _setting(
        "STANZALAKE_TIME_ZONE",
        _DEFAULT_ZONE,
        "Time zone of the local hours in analysts' views, by its name in the IANA database: "
        "Europe/Berlin",
    )
    log_retention: Seconds = _setting(
        "STANZALAKE_LOG_RETENTION",
        "1w",
        "How long the log keeps what is archived already; in Kafka, what is not archived yet as "
        f"well, so let it outlast any outage: {duration.ALLOWED}",
    )
    kafka_bootstrap_servers: Addresses = _setting(
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS",
        "",
        "HOST:PORT of Kafka brokers, with commas. Default: the embedded log, in the data directory",
        max_length=_MAX_ADDRESSES,
    )
    kafka_partitions: int = _setting(
        "STANZALAKE_KAFKA_PARTITIONS",
        12,
        "Partitions of a topic when it is made: the largest number of processors with work",
        ge=1,
        le=10_000,
    )
    kafka_replication: int = _setting(
        "STANZALAKE_KAFKA_REPLICATION",
        3,
        "Brokers that hold each partition of a topic when it is made; a single broker needs 1",
        ge=1,
        le=100,
    )
    kafka_topic_prefix: str = _setting(
        "STANZALAKE_KAFKA_TOPIC_PREFIX",
        "",
        "What stands before the names of topics and groups, in a Kafka that others use as well",
        pattern=_PREFIX,
    )
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], AfterValidator(_of_kafka)
    ] = _setting(
        "STANZALAKE_KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT",
        "How Kafka is spoken to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    )
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None,
        BeforeValidator(_unset),
        AfterValidator(_of_sasl),
    ] = _setting(
        "STANZALAKE_KAFKA_SASL_MECHANISM",
        None,
        "How to log in to Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    )
    kafka_username: Annotated[str | None, BeforeValidator(_unset), AfterValidator(_of_sasl)] = (
        _setting("STANZALAKE_KAFKA_USERNAME", None, "The user that logs in to Kafka")
    )
    kafka_password: Annotated[
        SecretStr | None, BeforeValidator(_unset), AfterValidator(_of_sasl)
    ] = _setting("STANZALAKE_KAFKA_PASSWORD", None, "That user's password")
    kafka_ca_file: TlsFile = _setting(
        "STANZALAKE_KAFKA_CA_FILE",
        None,
        "File of the authorities whose certificates are trusted. Default: the system's",
    )
    kafka_cert_file: TlsFile = _setting(
        "STANZALAKE_KAFKA_CERT_FILE",
        None,
        "File of the certificate that is shown to Kafka",
    )
    kafka_key_file: Annotated[TlsFile, AfterValidator(_of_certificate)] = _setting(
        "STANZALAKE_KAFKA_KEY_FILE",
        None,
        "File of that certificate's key, without a passphrase",
    )

    batch_rows: int = _setting(
        "STANZALAKE_BATCH_ROWS",
        50_000,
        "Events in one insert at most",
        ge=1,
        le=1_000_000,
    )
    batch_seconds: float = _setting(
        "STANZALAKE_BATCH_SECONDS",
        0.2,
        "Seconds for which an insert gathers events; a processor that shares the partitions with "
        "others gathers for longer, up to 2.5 s",
        gt=0,
        le=60,
    )
    max_rejected: int = _setting(
        "STANZALAKE_MAX_REJECTED_IN_A_ROW",
        1000,
        "Events rejected in a row after which the processor ends; 0 is never",
        ge=0,
        le=1_000_000_000,
    )
    freshness_timeout: float = _setting(
        "STANZALAKE_FRESHNESS_TIMEOUT",
        5.0,
        "Seconds that a query waits for what was announced before it",
        ge=0,
        le=60,
    )
    page_cache_bytes: int = _setting(
        "STANZALAKE_PAGE_CACHE_BYTES",
        64 * 1024 * 1024,
        "Bytes of messages that a query service keeps in memory for the next pages; 0 is none",
        ge=0,
        le=1 << 40,
    )
    access_log: str = _setting(
        "STANZALAKE_ACCESS_LOG",
        "",
        "File that says who asked for which archive, one JSON object a line; - is standard error. "
        "Default: only what operators do, on standard error",
    )
    http: Addresses = _setting(
        "STANZALAKE_HTTP_ADDRESS",
        "",
        "HOST:PORT for the status page, /metrics, /healthz and /readyz; empty for none",
        max_length=1,
    )
    analysts: Annotated[Addresses, AfterValidator(_of_the_engine)] = _setting(
        "STANZALAKE_ANALYSTS_ADDRESS",
        "",
        "HOST:PORT on loopback at which `up` serves the embedded store's views to analysts, "
        "read-only, over ClickHouse's HTTP interface; empty for none",
        max_length=1,
    )
    analyst_password: Annotated[SecretStr | None, AfterValidator(_of_analysts)] = _setting(
        "STANZALAKE_ANALYST_PASSWORD",
        None,
        "Password of the user stanzalake_analyst there",
    )

    @property
    def retention(self) -> Retention:
        """For how long messages are kept."""
        return Retention(self.expires_after, self.expires_after_by_host)

    @property
    def exclusions(self) -> frozenset[str]:
        """Namespaces of elements that are never stored."""
        return DEFAULT_EXCLUSIONS.union(self.exclude_namespaces)

    @property
    def id_key_list(self) -> tuple[str, ...]:
        """The id keys, the sealing one first."""
        return _split(self.id_keys.get_secret_value())

    @property
    def dsn(self) -> str:
        """DSN of the store, for clickhouse-connect."""
        if self.clickhouse_dsn is None:
            return f"chdb://{self.data_dir.absolute() / 'clickhouse'}"
        return self.clickhouse_dsn.get_secret_value()

    @property
    def embedded_store(self) -> bool:
        """Whether the store is the engine in the process, with exclusive use of its directory."""
        return self.dsn.startswith("chdb:")

    @property
    def store_dir(self) -> Path | None:
        """Directory of the embedded store; None in memory, and for a server."""
        parts = urlsplit(self.dsn)
        if not self.embedded_store or parts.netloc in {":memory:", "memory"}:
            return None
        return Path(parts.netloc or parts.path).resolve()

    @property
    def admin_dsn(self) -> str:
        """DSN of the store for a user with rights to change the schema."""
        if self.clickhouse_admin_dsn is None:
            return self.dsn
        return self.clickhouse_admin_dsn.get_secret_value()


def load(environment: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Load the settings.

    Args:
        environment: Variables and values, which override the file; None for the process's own.
        env_file: A file of VARIABLE=value lines in the syntax of docker compose.

    Raises:
        SettingsError: A value is invalid or missing, or a name is unknown; a line for each.
    """
    try:
        return Settings.model_validate(_read_variables(environment, env_file))
    except ValidationError as error:
        raise SettingsError("\n".join(_problems(error).values())) from None


def variables() -> Iterator[tuple[str, str, str]]:
    """Yield each variable's name, its default as text, and its description."""
    for field in Settings.model_fields.values():
        default = "required" if field.is_required() else _text(field.default)
        yield str(field.alias), default, str(field.description)


def in_effect(
    environment: Mapping[str, str] | None = None, env_file: Path | None = None
) -> Iterator[tuple[str, str]]:
    """Yield each variable's name and its value as text; of a secret, only whether it is set.

    Args:
        environment: Same as for `load`.
        env_file: Same as for `load`.

    Raises:
        SettingsError: Same as for `load`.
    """
    load(environment, env_file)
    values = _read_variables(environment, env_file)
    for field in Settings.model_fields.values():
        value = values.get(str(field.alias), _text(field.default))
        yield str(field.alias), _HIDDEN if value and _secret(field) else value


def _text(default: object) -> str:
    return "" if default is None else str(default)


def _read_variables(environment: Mapping[str, str] | None, env_file: Path | None) -> dict[str, str]:
    """Return the variables of the environment and the file that may be ours."""
    own = dict(os.environ if environment is None else environment)
    values = {**_read_file(env_file), **own}
    return {name: value for name, value in values.items() if _OURS.fullmatch(name)}


def _read_file(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        if not path.is_file():
            raise SettingsError(f"the settings file {path} does not exist")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SettingsError(f"the settings file {path} is no text")
    values = dotenv_values(stream=StringIO(text))
    return {name: value for name, value in values.items() if value is not None}


def _problems(error: ValidationError) -> dict[str, str]:
    """Return a line for each invalid variable."""
    fields: dict[str, Any] = {str(f.alias): f for f in Settings.model_fields.values()}
    problems: dict[str, str] = {}
    for problem in error.errors():
        name = _variable(str(problem["loc"][0]))
        problems.setdefault(name, _line(name, problem, fields.get(name)))
    return problems


def _variable(location: str) -> str:
    """Return the variable of a pydantic location: the alias, or the field for a bad default."""
    field = Settings.model_fields.get(location)
    return location if field is None else str(field.alias)


def _line(name: str, problem: ErrorDetails, field: Any) -> str:
    if problem["type"] == "missing":
        return f"{name} is not set: {field.description}"
    if problem["type"] == "extra_forbidden":
        return _REMOVED.get(name, f"{name} is not a setting of Stanzalake")
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["input"] is None:
        return f"{name} is not set: {reason}"
    value = "" if _secret(field) else f"={problem['input']!s}"
    return f"{name}{value} cannot be used: {reason}"


def _secret(field: Any) -> bool:
    return "SecretStr" in str(field.annotation)
