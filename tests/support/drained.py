"""Waiting for what nobody in the product waits for: a lease that is given back, an answer that is kept.

with struck_at("session.spent"):
    till.present(credential)
drained(till.store)
till.serve(credential)                # not 409: nobody works on it any more
"""

from __future__ import annotations

import threading

from coinslot.store.postgres import THREADS, PostgresStore
from coinslot.store.protocol import Store

# What is asked for when something else is done is done in the second round.
ROUNDS = 2
# More than any write takes; a store that hangs fails its test.
PATIENCE_S = 60.0

_one_at_a_time = threading.Lock()


def drained(store: Store) -> None:
    """All that was asked of a store before, and what that led to, is written."""
    with _one_at_a_time:
        for _ in range(ROUNDS):
            if not isinstance(store, PostgresStore):
                store.ping().result(PATIENCE_S)  # one queue, in order
                continue
            # Several threads take from one queue: when each of them stands here, all that came before is done.
            meeting = threading.Barrier(THREADS)
            here = [store._workers.submit(meeting.wait, PATIENCE_S) for _ in range(THREADS)]
            for each in here:
                each.result(PATIENCE_S)
