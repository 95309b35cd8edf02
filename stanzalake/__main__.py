"""`python -m stanzalake`, the same as the command `stanzalake`."""

from stanzalake.cli.main import main

main()
