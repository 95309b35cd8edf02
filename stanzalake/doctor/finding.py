"""Findings: what a check has to say, and how to mend it."""

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """How a thing stands."""

    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"
    UNKNOWN = "unknown"
    """Another fault, or a right that is missing, keeps it from being told."""


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        subject: What it is about: `store`, `host capulet.lit`.
        outcome: How it stands.
        text: What is so. Never a secret, never what people wrote.
        remedy: What an operator does about it; empty if there is nothing to do.
    """

    subject: str
    outcome: Outcome
    text: str
    remedy: str = ""


def fine(subject: str, text: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(subject, Outcome.FINE, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Say that something works, and should be looked at."""
    return Finding(subject, Outcome.WARNING, text, remedy)


def fault(subject: str, text: str, remedy: str) -> Finding:
    """Say that something does not work."""
    return Finding(subject, Outcome.FAULT, text, remedy)


def unknown(subject: str, text: str, remedy: str = "") -> Finding:
    """Say that something cannot be told."""
    return Finding(subject, Outcome.UNKNOWN, text, remedy)
