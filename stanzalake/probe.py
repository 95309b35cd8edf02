"""Health probe for containers without curl: exits 0 if a URL answers with status 200."""

import sys
import urllib.error
import urllib.request

_SECONDS = 4.0


def main() -> int:
    """Request the URL given as first argument."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=_SECONDS) as answer:  # noqa: S310  # the container's own
            return 0 if answer.status == 200 else 1  # noqa: PLR2004  # HTTP's OK
    except (OSError, urllib.error.URLError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
