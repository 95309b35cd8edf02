"""Accounts of a Prosody, made at once: prosodyctl takes a third of a second for each."""

from collections.abc import Iterable
from pathlib import Path

from devstack.prosody import Prosody

PLAIN = 'authentication = "internal_plain"\n'
"""A line of the VirtualHost's configuration that the accounts need."""

_WITHOUT_PREFERENCES = '["known"] = true, ["activated"] = false, ["generation"] = 0'


def register(prosody: Prosody, users: Iterable[str]) -> None:
    """Write accounts as mod_auth_internal_plain keeps them; their passwords are their names.

    mod_stanzalake knows that they have no preferences yet, as it does of accounts in use.

    Args:
        prosody: The server, before its start.
        users: Local parts of letters and digits.
    """
    data = prosody.data_path / prosody.host
    for user in users:
        _write(data / "accounts" / f"{user}.dat", f'["password"] = "{user}"')
        _write(data / "stanzalake_preferences" / f"{user}.dat", _WITHOUT_PREFERENCES)


def _write(path: Path, fields: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"return {{ {fields} }};\n")
