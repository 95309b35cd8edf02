"""Clock skew: positions come from Prosody's clock, expiry from ClickHouse's."""

from stanzalake.doctor.finding import Finding, fault, fine

LIMIT = 2000
"""Milliseconds of tolerated skew."""


def check(subject: str, ahead: int, doubt: int) -> Finding:
    """Compare a clock with this machine's.

    Args:
        subject: Name of the machine or service.
        ahead: Milliseconds that the clock is ahead.
        doubt: Uncertainty of the measurement, milliseconds.
    """
    subject = f"{subject}, clock"
    if abs(ahead) - doubt <= LIMIT:
        return fine(subject, f"within {LIMIT // 1000} s of this machine's")
    direction = "ahead of" if ahead > 0 else "behind"
    return fault(
        subject,
        f"{abs(ahead) / 1000:.1f} s {direction} this machine's",
        "keep all machines on time by NTP (timedatectl status): messages get their times from "
        "Prosody, and expire by ClickHouse's clock",
    )
