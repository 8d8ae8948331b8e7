"""Requests paid from Solana channels: the set-up of sessions.py, and what the steps of a voucher cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing

from bench import sessionsteps
from bench.sessionrig import SOLANA, rig_of
from bench.sessions import EACH_MEASURED, PATH, WARM, _row, durable, signed
from coinslot.store.open import open_store


def rows() -> Iterator[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the unpaid one's time is ours)."""
    rig = rig_of(SOLANA)
    with tempfile.TemporaryDirectory() as folder:
        yield from durable("Solana sessions", signed(PATH, WARM + EACH_MEASURED, method=SOLANA), folder, SOLANA)
        for row in sessionsteps.steps(rig, "a Solana voucher, in memory"):
            yield _row(*row)
        with closing(open_store("memory:")) as store:
            for row in sessionsteps.metering(rig, "Solana sessions, memory", store):
                yield _row(*row)


if __name__ == "__main__":
    for each in rows():
        print(f"{each['name']!s:<64}{each['value']!s:>9} {each['unit']}")
