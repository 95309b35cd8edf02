"""The settings of Kafka: what belongs together, and what the clients are made with."""

import shutil
import ssl
import subprocess
from pathlib import Path

import certifi
import pytest

from stanzalake.errors import SettingsError
from stanzalake.log.kafka import connection
from tests.support.settings import load

BROKERS = "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS"
PROTOCOL = "STANZALAKE_KAFKA_SECURITY_PROTOCOL"
MECHANISM = "STANZALAKE_KAFKA_SASL_MECHANISM"
USER = "STANZALAKE_KAFKA_USERNAME"
PASSWORD = "STANZALAKE_KAFKA_PASSWORD"
CA = "STANZALAKE_KAFKA_CA_FILE"
CERT = "STANZALAKE_KAFKA_CERT_FILE"
KEY = "STANZALAKE_KAFKA_KEY_FILE"

LOGIN = {MECHANISM: "SCRAM-SHA-512", USER: "stanzalake", PASSWORD: "juliet!"}


def test_without_brokers_the_log_is_embedded() -> None:
    assert load().kafka_bootstrap_servers == ()
    assert load(**{BROKERS: "", USER: "", PASSWORD: "", MECHANISM: "", CA: ""}) == load()


def test_plain_text_is_the_default() -> None:
    values = load(**{BROKERS: "kafka-1:9092, [::1]:9093"})
    arguments = connection.client_arguments(values)
    assert arguments["bootstrap_servers"] == ["kafka-1:9092", "[::1]:9093"]
    assert arguments["security_protocol"] == "PLAINTEXT"
    assert not {"ssl_context", "sasl_mechanism", "sasl_plain_password"} & arguments.keys()


def test_log_in_over_tls() -> None:
    values = load(**{BROKERS: "kafka:9092", PROTOCOL: "SASL_SSL", **LOGIN, CA: certifi.where()})
    arguments = connection.client_arguments(values)
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert arguments["sasl_plain_username"] == "stanzalake"
    assert arguments["sasl_plain_password"] == "juliet!"
    context = arguments["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs()
    assert "juliet!" not in repr(values)


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({PROTOCOL: "SSL"}, PROTOCOL, BROKERS),
        ({BROKERS: "kafka"}, BROKERS, "HOST:PORT"),
        ({BROKERS: "k:1", PROTOCOL: "TLS"}, PROTOCOL, "'SASL_SSL'"),
        ({BROKERS: "k:1", **LOGIN}, MECHANISM, "PLAINTEXT has no use for it"),
        ({BROKERS: "k:1", PROTOCOL: "SASL_SSL"}, MECHANISM, "is not set"),
        ({BROKERS: "k:1", PROTOCOL: "SASL_SSL", **LOGIN, USER: ""}, USER, "SASL_SSL needs it"),
        ({BROKERS: "k:1", PROTOCOL: "SASL_SSL", **LOGIN, PASSWORD: ""}, PASSWORD, "needs it"),
        ({BROKERS: "k:1", PROTOCOL: "SSL", PASSWORD: "x"}, PASSWORD, "SSL has no use for it"),
        ({BROKERS: "k:1", PROTOCOL: "SASL_SSL", **LOGIN, MECHANISM: "MD5"}, MECHANISM, "'PLAIN'"),
        ({BROKERS: "k:1", CA: certifi.where()}, CA, "PLAINTEXT has no use for it"),
        ({BROKERS: "k:1", PROTOCOL: "SSL", CA: "/none"}, CA, "a file"),
        ({BROKERS: "k:1", PROTOCOL: "SSL", CERT: certifi.where()}, KEY, CERT),
        ({BROKERS: "k:1", PROTOCOL: "SSL", KEY: certifi.where()}, KEY, CERT),
        ({BROKERS: "k:1", "STANZALAKE_KAFKA_TOPIC_PREFIX": "a b"}, "STANZALAKE_KAFKA_TOPIC", "pat"),
        ({"STANZALAKE_KAFKA_PARTITIONS": "0"}, "STANZALAKE_KAFKA_PARTITIONS", "greater"),
    ],
)
def test_contradictory_settings_name_the_variable(
    changes: dict[str, str], name: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**changes)
    line = str(caught.value).splitlines()[0]
    assert line.startswith(name)
    assert reason in line
    assert "juliet!" not in line


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Give the files of a certificate and its key."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=stanzalake"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)  # noqa: S603  # openssl
    return cert, key


def test_a_client_certificate(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    brokers = {BROKERS: "kafka:9092", PROTOCOL: "SSL"}
    assert connection.client_arguments(load(**brokers, **{CERT: cert, KEY: key}))["ssl_context"]
    with pytest.raises(SettingsError, match=f"{CERT}=.* cannot be used"):
        connection.client_arguments(load(**brokers, **{CERT: key, KEY: cert}))
    with pytest.raises(SettingsError, match=f"{CA}=.* cannot be used"):
        connection.client_arguments(load(**brokers, **{CA: key}))
