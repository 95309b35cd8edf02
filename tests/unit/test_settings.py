"""Settings: defaults and values of the guide, and errors."""

from errno import EACCES
from pathlib import Path

import pytest

from stanzalake.config import duration, settings
from stanzalake.errors import SettingsError
from tests.support.settings import KEY, REQUIRED, load


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1d", 86_400),
        ("1w", 604_800),
        ("1m", 2_678_400),
        ("1y", 31_556_952),
        ("90d", 7_776_000),
        ("2592000", 2_592_000),
        ("never", None),
        (" 2 W ", 1_209_600),
        ("12h", 43_200),
        ("30 days", 2_592_000),
        ("2 weeks", 1_209_600),
        ("3 Months", 8_035_200),
        ("1 year", 31_556_952),
        ("90 minutes", 5_400),
    ],
)
def test_a_duration_is_parsed_in_mod_mams_units(text: str, seconds: int | None) -> None:
    assert duration.parse(text) == seconds
    assert load(PROSODY_ARCHIVE_EXPIRES_AFTER=text).expires_after == seconds


@pytest.mark.parametrize(
    "text", ["12 parsecs", "", "0", "0d", "-1d", "1.5d", "d", "51y", "9" * 13, "1d1w"]
)
def test_an_invalid_duration_names_the_variable(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(PROSODY_ARCHIVE_EXPIRES_AFTER=text)
    assert str(caught.value).startswith(f"PROSODY_ARCHIVE_EXPIRES_AFTER={text} cannot be used:")


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("Capulet.LIT", "capulet.lit"),
        ("BÜCHER.example.", "bücher.example"),
        ("straße.example", "strasse.example"),
        ("ⅷ.example", "viii.example"),
    ],
)
def test_hosts_are_named_as_prosody_names_them(written: str, host: str) -> None:
    assert load(STANZALAKE_HOSTS=written).hosts == (host,)


def test_mod_mams_policies_and_periods_are_accepted() -> None:
    values = load(PROSODY_ARCHIVE_POLICY="always", PROSODY_ARCHIVE_CLEANUP_INTERVAL="12h")
    assert (values.policy, values.cleanup_interval) == ("true", 43_200)
    assert load(PROSODY_ARCHIVE_POLICY="never").policy == "false"
    with pytest.raises(SettingsError, match="PROSODY_ARCHIVE_CLEANUP_INTERVAL=never cannot"):
        load(PROSODY_ARCHIVE_CLEANUP_INTERVAL="never")


def test_the_defaults_are_those_of_the_guide() -> None:
    values = load()
    assert values.expires_after == 31_556_952
    assert values.policy == "roster"
    assert values.max_query_results == 250
    assert values.cleanup_interval == 86_400
    assert values.compression is True
    assert values.smart is False
    assert values.exclusions == {
        "http://jabber.org/protocol/chatstates",
        "urn:xmpp:jingle-message:0",
    }


def test_the_values_of_the_guide_are_accepted() -> None:
    values = load(
        PROSODY_ARCHIVE_POLICY="true",
        PROSODY_ARCHIVE_MAX_QUERY_RESULTS="500",
        PROSODY_ARCHIVE_CLEANUP_INTERVAL="604800",
        PROSODY_ARCHIVE_COMPRESSION="false",
        PROSODY_MAM_SMART_ENABLE="true",
        PROSODY_ARCHIVE_EXCLUDE_NAMESPACES="custom:namespace:1, custom:namespace:2",
        PROSODY_ARCHIVE_STORE="archive2",
    )
    assert values.policy == "true"
    assert values.max_query_results == 500
    assert values.cleanup_interval == 604_800
    assert values.smart is True
    assert values.compression is False
    assert {"custom:namespace:1", "custom:namespace:2"} < values.exclusions
    assert values.store == "archive2"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PROSODY_ARCHIVE_POLICY", "yes", "'false', 'roster' or 'true'"),
        ("PROSODY_ARCHIVE_MAX_QUERY_RESULTS", "many", "integer"),
        ("PROSODY_ARCHIVE_MAX_QUERY_RESULTS", "0", "greater than or equal to 1"),
        ("PROSODY_ARCHIVE_CLEANUP_INTERVAL", "1", "greater than or equal to 60"),
        ("PROSODY_ARCHIVE_COMPRESSION", "ja", "true or false"),
        ("PROSODY_MAM_SMART_ENABLE", "1", "true or false"),
        ("PROSODY_ARCHIVE_STORE", "a; DROP TABLE b", "pattern"),
        ("STANZALAKE_HOSTS", "", "at least 1"),
        ("STANZALAKE_HOSTS", "juliet@capulet.lit", "domain"),
        ("STANZALAKE_HOSTS", "capulet.lit/phone", "domain"),
        ("STANZALAKE_HOSTS", "capulet .lit", "domain"),
        ("STANZALAKE_PROSODY", "localhost", "HOST:PORT"),
        ("STANZALAKE_PROSODY", "localhost:99999", "HOST:PORT"),
    ],
)
def test_an_invalid_value_names_the_allowed_ones(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{name}=")
    assert allowed in line


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_required_setting_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        settings.load({key: value for key, value in REQUIRED.items() if key != name})


@pytest.mark.parametrize("name", ["STANZALAKE_SPEED", "PROSODY_ARCHIVE_EXPIRE"])
def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        load(**{name: "1"})


def test_a_removed_setting_is_refused_with_its_replacement() -> None:
    with pytest.raises(SettingsError, match=r"not a setting any more.*STANZALAKE_HTTP_ADDRESS"):
        load(STANZALAKE_PROCESSOR_PORT="6066")


def test_secrets_are_never_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load(STANZALAKE_ID_KEYS="tooshort", STANZALAKE_COMPONENT_SECRET="")
    assert "tooshort" not in str(caught.value)
    assert KEY not in repr(load())
    assert "wherefore" not in repr(load())


def test_other_programs_variables_are_left_alone() -> None:
    assert load(PATH="/bin", PROSODY_DOMAIN="capulet.lit").hosts == ("capulet.lit",)


def test_a_list_is_split_at_commas() -> None:
    values = load(
        STANZALAKE_HOSTS="Capulet.lit, montague.lit",
        STANZALAKE_PROSODY="127.0.0.1:5347,[::1]:5348",
        STANZALAKE_ID_KEYS=f"{KEY}, ,{KEY[::-1]}, ",
    )
    assert values.hosts == ("capulet.lit", "montague.lit")
    assert values.prosody == (("127.0.0.1", 5347), ("::1", 5348))
    assert values.id_key_list == (KEY, KEY[::-1])


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("PROSODY_ARCHIVE_POLICY=true\nPROSODY_ARCHIVE_EXPIRES_AFTER=90d # short\n")
    values = settings.load({**REQUIRED, "PROSODY_ARCHIVE_POLICY": "false"}, file)
    assert values.policy == "false"
    assert values.expires_after == 90 * 86_400


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        settings.load(REQUIRED, tmp_path / "none.env")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe", "is no text"), (b"A=\0", "is no text"), (None, "too long")],
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / ("long" * 99 if content is None else "settings.env")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"the settings file .* {reason}"):
        settings.load(REQUIRED, file)


def test_a_file_of_others_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run as root, who may read all."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(EACCES, "Permission denied")

    file = tmp_path / "settings.env"
    file.touch()
    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(SettingsError, match=r"settings\.env cannot be read: Permission denied"):
        settings.load(REQUIRED, file)


@pytest.mark.parametrize("path", ["/none", "/", "/" + "long" * 99])
def test_a_certificate_that_cannot_be_read_names_its_variable(path: str) -> None:
    with pytest.raises(SettingsError, match=r"STANZALAKE_CLICKHOUSE_CA_FILE=.* expected a file"):
        load(
            STANZALAKE_CLICKHOUSE_DSN="clickhouses://db.capulet.lit",
            STANZALAKE_CLICKHOUSE_CA_FILE=path,
        )


def test_every_variable_is_described() -> None:
    for name, default, text in settings.variables():
        assert name.startswith(("PROSODY_", "STANZALAKE_"))
        assert default == default.strip()
        assert text


@pytest.mark.parametrize(
    "dsn",
    [
        "clickhouse://processor:p%40ss@db.capulet.lit:8123/stanzalake",
        "clickhouses://db.capulet.lit",
        "https://u:p@[::1]:8443/stanzalake",
        "chdb:///var/lib/stanzalake/clickhouse",
        "chdb://:memory:",
    ],
)
def test_the_directory_of_the_store_follows_from_the_dsn(dsn: str) -> None:
    values = load(STANZALAKE_CLICKHOUSE_DSN=dsn)
    assert values.dsn == values.admin_dsn == dsn


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "db.capulet.lit:8123",
        "postgresql://u:hunter2@db.capulet.lit/stanzalake",
        "clickhouse://u:hunter2@db.capulet.lit/stanzalake?compress=lz4",
        "clickhouse://u:hunter#2@db.capulet.lit/stanzalake",
        "clickhouse://u:hunter2@db.capulet.lit:99999/",
        "clickhouse://u:hunter2@db.capulet.lit:0/",
        "clickhouse://u:hunter2@db.capulet.lit:http/",
        "clickhouse://u:hunter2@:8123/",
        "clickhouse://u:hunter2@[::1/",
        "clickhouse://u:hunter2@\u2100/",
    ],
)
def test_an_invalid_dsn_is_refused_without_quoting_the_password(dsn: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(STANZALAKE_CLICKHOUSE_DSN=dsn, STANZALAKE_CLICKHOUSE_CLUSTER="archive")
    [line] = str(caught.value).splitlines()
    assert line.startswith("STANZALAKE_CLICKHOUSE_DSN cannot be used: expected clickhouse://")
    assert "hunter" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STANZALAKE_CLICKHOUSE_CLUSTER", "archive"),
        ("STANZALAKE_CLICKHOUSE_ADMIN_DSN", "clickhouse://admin:hunter2@db.capulet.lit/stanzalake"),
        ("STANZALAKE_CLICKHOUSE_CA_FILE", __file__),
    ],
)
@pytest.mark.parametrize("embedded", [{}, {"STANZALAKE_CLICKHOUSE_DSN": "chdb:///srv/store"}])
def test_settings_of_a_server_are_refused_for_the_embedded_store(
    embedded: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name}.* cannot be used: it needs STANZALAKE_") as e:
        load(**{name: value}, **embedded)
    assert "hunter" not in str(e.value)
    assert load(
        **{"STANZALAKE_CLICKHOUSE_DSN": "clickhouse://db.capulet.lit:8123/stanzalake", name: value}
    )


def test_the_administrators_dsn_defaults_to_the_services() -> None:
    values = load(
        STANZALAKE_CLICKHOUSE_DSN="clickhouse://query@db.capulet.lit/stanzalake",
        STANZALAKE_CLICKHOUSE_ADMIN_DSN="clickhouse://admin@db.capulet.lit/stanzalake",
    )
    assert values.admin_dsn == "clickhouse://admin@db.capulet.lit/stanzalake"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "STANZALAKE_ANALYST_PASSWORD is not set|ADDRESS needs it"),
        ({"STANZALAKE_ANALYST_PASSWORD": "short"}, "at least 12 characters"),
        ({"STANZALAKE_ANALYSTS_ADDRESS": "0.0.0.0:8123"}, "address of loopback"),
        ({"STANZALAKE_CLICKHOUSE_DSN": "clickhouse://a/b"}, "has users of its own"),
    ],
)
def test_analysts_of_the_embedded_store_need_loopback_and_a_password(
    changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        load(**{"STANZALAKE_ANALYSTS_ADDRESS": "127.0.0.1:8123", **changes})
