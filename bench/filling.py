"""Fills an embedded store with a corpus, in a process of its own: an engine serves one directory.

python -m bench.filling MESSAGES SEED END OWNER_SIZE, with the deployment's settings in the
environment. The tables are there already, so the store of any revision is filled alike.
"""

import sys

from bench.corpus import Corpus
from stanzalake.config import settings
from stanzalake.store.client import Store

_INSERTS = 60


def main(messages: int, seed: int, end: int, owner_size: int) -> None:
    """Write the corpus in many inserts, merges running."""
    corpus = Corpus(messages, seed, end, owner_size=owner_size)
    store = Store.of(settings.load())
    for rows in corpus.chunks(max(1, messages // _INSERTS)):
        store.insert(rows)
    store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
