"""Kinds of content of a message, as the column ``traits`` has them."""

from enum import IntFlag


class Trait(IntFlag):
    """A kind of content (migrations/traits.sql, stanzalake/store/traits.py)."""

    BODY = 1
    ENCRYPTED = 2
    ATTACHMENT = 4
    """XEP-0066, XEP-0385 or XEP-0447."""
    REPLY = 8
    """XEP-0461."""
    REACTION = 16
    """XEP-0444."""
    CORRECTION = 32
    """XEP-0308."""
    RETRACTION = 64
    """XEP-0424."""
    DISPLAYED = 128
    """A marker that a message was displayed or acknowledged (XEP-0333)."""
