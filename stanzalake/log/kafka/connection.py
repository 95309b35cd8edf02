"""Connection arguments and topic configuration, from the settings."""

import ssl
from typing import Any

from stanzalake.config.settings import Settings
from stanzalake.errors import SettingsError
from stanzalake.log.kafka.topics import Topics


def client_arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments of every aiokafka client.

    Raises:
        SettingsError: A certificate file cannot be read.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": [
            _address(host, port) for host, port in settings.kafka_bootstrap_servers
        ],
        "client_id": "stanzalake",
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    if settings.kafka_password is not None:
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_username
        arguments["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return arguments


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_KAFKA_CA_FILE={settings.kafka_ca_file} cannot be used: {error}"
        ) from None
    if settings.kafka_cert_file is not None:
        try:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file, password="")
        except OSError as error:
            raise SettingsError(
                f"STANZALAKE_KAFKA_CERT_FILE={settings.kafka_cert_file} and its key "
                f"{settings.kafka_key_file} cannot be used: {error}"
            ) from None
    return context


def topics(settings: Settings) -> Topics:
    """Return the topics' configuration as set."""
    return Topics(
        partitions=settings.kafka_partitions,
        replication=settings.kafka_replication,
        retention=settings.log_retention,
        prefix=settings.kafka_topic_prefix,
    )
