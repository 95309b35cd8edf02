"""Findings of checks, with remedies."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """Result of a check."""

    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"
    UNKNOWN = "unknown"
    """Another fault, or a missing right, prevents the check."""


class Finding(NamedTuple):
    """A result of a check.

    Attributes:
        subject: Subject of the check: `store`, `host capulet.lit`.
        outcome: The result.
        text: Description; never has a secret or message content.
        remedy: Action for the operator; empty if none is needed.
    """

    subject: str
    outcome: Outcome
    text: str
    remedy: str = ""


def fine(subject: str, text: str) -> Finding:
    """Report a passed check."""
    return Finding(subject, Outcome.FINE, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Report a subject that works but needs attention."""
    return Finding(subject, Outcome.WARNING, text, remedy)


def fault(subject: str, text: str, remedy: str) -> Finding:
    """Report a failed check."""
    return Finding(subject, Outcome.FAULT, text, remedy)


def unknown(subject: str, text: str, remedy: str = "") -> Finding:
    """Report a check that could not be made."""
    return Finding(subject, Outcome.UNKNOWN, text, remedy)


def failed(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is a fault."""
    return any(finding.outcome is Outcome.FAULT for finding in findings)
