"""Settings for tests."""

from stanzalake.config import settings
from stanzalake.config.settings import Settings

KEY = "a-key-for-tests-of-32-characters"
REQUIRED = {
    "STANZALAKE_HOSTS": "capulet.lit",
    "STANZALAKE_COMPONENT_SECRET": "wherefore",
    "STANZALAKE_ID_KEYS": KEY,
}
"""The variables that have no default."""


def load(**changes: str) -> Settings:
    """Load settings of the required variables and the changes."""
    return settings.load({**REQUIRED, **changes})
