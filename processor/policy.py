"""Policy: whether an eligible message goes into its owner's archive."""

from typing import Literal

from archive.event import Message

Default = Literal["false", "roster", "true"]


def admits(default: Default, message: Message) -> bool:
    """Tell whether a message is archived.

    Args:
        default: The server's policy for owners who set nothing: ``roster`` archives the talk
            with anybody who was in the owner's roster, whatever the subscription
            (XEP-0441 §2.1.1).
        message: The event.
    """
    if default == "roster":
        return message.contact
    return default == "true"
