"""Clocks: positions are moments of Prosody's, expiry is ClickHouse's, and both are read here."""

from stanzalake.doctor.finding import Finding, fault, fine

LIMIT = 2000
"""Milliseconds by which two clocks may differ."""


def check(subject: str, ahead: int, doubt: int) -> Finding:
    """Tell whether a clock agrees with this machine's.

    Args:
        subject: What has the clock.
        ahead: Milliseconds by which it is ahead.
        doubt: Milliseconds by which that may be wrong.
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
