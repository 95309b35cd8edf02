"""Settings: the environment variables of the operator's guide and our own, checked at start.

Frozen once read. What cannot be used is an error that names the variable, the value and what is
allowed; the values of secrets are never shown.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from archive import duration
from archive.errors import SettingsError
from archive.position import MIN_KEY_LENGTH

DEFAULT_EXCLUSIONS = frozenset(
    {"http://jabber.org/protocol/chatstates", "urn:xmpp:jingle-message:0"}
)
_OURS = re.compile(r"STANZALAKE_\w+|PROSODY_(ARCHIVE|MAM)_\w+")
_MAX_ADDRESSES = 64
_MAX_PORT = 65_535


def _items(value: object) -> object:
    """Split the comma-separated text of a variable; the empty text is the empty list."""
    if not isinstance(value, str):
        return value
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _seconds(value: object) -> object:
    return duration.parse(value) if isinstance(value, str) else value


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
    if not re.fullmatch(r"[^@/\s,]{1,1023}", value):
        raise ValueError(f"expected a domain, not {value!r}")
    return value.lower()


def _keys(value: SecretStr) -> SecretStr:
    keys = _items(value.get_secret_value())
    if not isinstance(keys, tuple) or not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(f"expected keys of at least {MIN_KEY_LENGTH} characters, with commas")
    return value


def _filled(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("expected a secret, the component_secret of Prosody's configuration")
    return value


Seconds = Annotated[int | None, BeforeValidator(_seconds)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Domain = Annotated[str, AfterValidator(_domain)]
Items = Annotated[tuple[str, ...], BeforeValidator(_items)]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(_items)]
Addresses = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_addresses)]


class Settings(BaseModel):
    """All settings. Each field's alias is its environment variable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expires_after: Seconds = Field(
        duration.parse("1y"),
        alias="PROSODY_ARCHIVE_EXPIRES_AFTER",
        description=f"How long a message is kept: {duration.ALLOWED}",
    )
    policy: Literal["false", "roster", "true"] = Field(
        "roster",
        alias="PROSODY_ARCHIVE_POLICY",
        description="What is archived of a user who set nothing: false, roster or true",
    )
    max_query_results: int = Field(
        250,
        alias="PROSODY_ARCHIVE_MAX_QUERY_RESULTS",
        ge=1,
        le=1000,
        description="Messages in one page at most, and in a page of no stated size",
    )
    cleanup_interval: int = Field(
        86_400,
        alias="PROSODY_ARCHIVE_CLEANUP_INTERVAL",
        ge=60,
        le=366 * 86_400,
        description="Seconds between removals of expired bytes; readers never see them meanwhile",
    )
    compression: Switch = Field(
        True,
        alias="PROSODY_ARCHIVE_COMPRESSION",
        description="Whether stored stanzas are compressed: true or false",
    )
    exclude_namespaces: Items = Field(
        (),
        alias="PROSODY_ARCHIVE_EXCLUDE_NAMESPACES",
        description="Namespaces, with commas, of elements never stored, besides the two defaults",
    )
    store: str = Field(
        "messages",
        alias="PROSODY_ARCHIVE_STORE",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$",
        description="Name of the table in use",
    )
    hosts: Domains = Field(
        alias="STANZALAKE_HOSTS",
        min_length=1,
        description="The VirtualHosts of Prosody, with commas, whose archives these are",
    )
    component_secret: Annotated[SecretStr, AfterValidator(_filled)] = Field(
        alias="STANZALAKE_COMPONENT_SECRET",
        description="The component_secret of both components in Prosody's configuration",
    )
    id_keys: Annotated[SecretStr, AfterValidator(_keys)] = Field(
        alias="STANZALAKE_ID_KEYS",
        description="Keys that seal message ids, with commas; the same as Prosody's. "
        "The first seals, all open",
    )
    prosody: Addresses = Field(
        (("127.0.0.1", 5347),),
        alias="STANZALAKE_PROSODY",
        min_length=1,
        max_length=_MAX_ADDRESSES,
        description="HOST:PORT of Prosody's component listeners, with commas",
    )
    ingest_jid: Domain = Field(
        "ingest.stanzalake",
        alias="STANZALAKE_INGEST_JID",
        description="Name of the ingest component in Prosody's configuration",
    )
    query_jid: Domain = Field(
        "query.stanzalake",
        alias="STANZALAKE_QUERY_JID",
        description="Name of the query component in Prosody's configuration",
    )
    data_dir: Path = Field(
        Path("/var/lib/stanzalake"),
        alias="STANZALAKE_DATA_DIR",
        description="Directory of the embedded log and store",
    )
    clickhouse_dsn: SecretStr | None = Field(
        None,
        alias="STANZALAKE_CLICKHOUSE_DSN",
        description="Where the store is; chdb://:memory: keeps nothing. "
        "Default: the engine in the process, in the data directory",
    )
    log_retention: Seconds = Field(
        86_400,
        alias="STANZALAKE_LOG_RETENTION",
        description=f"How long the log keeps what is archived already: {duration.ALLOWED}",
    )
    batch_rows: int = Field(
        50_000,
        alias="STANZALAKE_BATCH_ROWS",
        ge=1,
        le=1_000_000,
        description="Events in one insert at most",
    )
    batch_seconds: float = Field(
        0.2,
        alias="STANZALAKE_BATCH_SECONDS",
        gt=0,
        le=60,
        description="Seconds for which an insert gathers events",
    )
    freshness_timeout: float = Field(
        5.0,
        alias="STANZALAKE_FRESHNESS_TIMEOUT",
        ge=0,
        le=60,
        description="Seconds that a query waits for what was announced before it",
    )

    @property
    def exclusions(self) -> frozenset[str]:
        """The namespaces whose elements are never stored."""
        return DEFAULT_EXCLUSIONS.union(self.exclude_namespaces)

    @property
    def id_key_list(self) -> tuple[str, ...]:
        """The id keys, the sealing one first."""
        return tuple(key.strip() for key in self.id_keys.get_secret_value().split(",") if key)

    @property
    def dsn(self) -> str:
        """Where the store is, as clickhouse-connect takes it."""
        if self.clickhouse_dsn is None:
            return f"chdb://{self.data_dir.absolute() / 'clickhouse'}"
        return self.clickhouse_dsn.get_secret_value()


def load(environment: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: Variables and values; the process's own if None. They win over the file.
        env_file: A file of VARIABLE=value lines, as docker compose reads it.

    Raises:
        SettingsError: A value cannot be used, one is missing, or a name is unknown; one line
            for each.
    """
    given = dict(os.environ if environment is None else environment)
    values = {**_from_file(env_file), **given}
    ours = {name: value for name, value in values.items() if _OURS.fullmatch(name)}
    try:
        return Settings.model_validate(ours)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def variables() -> Iterator[tuple[str, str, str]]:
    """Give each variable's name, its default as text, and its description."""
    for field in Settings.model_fields.values():
        default = "required" if field.is_required() else str(field.default)
        yield str(field.alias), default, str(field.description)


def _from_file(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    if not path.is_file():
        raise SettingsError(f"the settings file {path} does not exist")
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _lines(error: ValidationError) -> Iterator[str]:
    fields: dict[str, Any] = {str(f.alias): f for f in Settings.model_fields.values()}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        if problem["type"] == "missing":
            yield f"{name} is not set: {fields[name].description}"
        elif problem["type"] == "extra_forbidden":
            yield f"{name} is not a setting of Stanzalake"
        else:
            value = "" if _secret(fields.get(name)) else f"={problem['input']!s}"
            reason = problem["msg"].removeprefix("Value error, ")
            yield f"{name}{value} cannot be used: {reason}"


def _secret(field: Any) -> bool:
    return field is None or "SecretStr" in str(field.annotation)
