"""Time that passes for the dead only: what a killed process held is free at once, without waiting for its lease.

    holder.kill()
    until(lambda: lapse(store) and store.abandoned(9).result())

A lease holds while its owner's beat on record is young, and an owner of long ago is forgotten. So forgetting the dead
does to them what a lease time would; and the leases of the living may be so long that no stall of a busy machine takes
one away in the middle of a test. Ask for it each time anew: what a killed process had sent to a database server may
still be carried out there.
"""

from __future__ import annotations

from coinslot.store import operations
from coinslot.store.operations import Db
from coinslot.store.sql import SqlStore

# Longer than any test may take: only `lapse` ends it.
LONG_LEASE_S = 600.0


def owner_of(store: object) -> str:
    """Whose beats a store handle writes."""
    assert isinstance(store, SqlStore)
    return store._heart.owner


def owners(store: object) -> set[str]:
    """Who else has a beat on record."""
    assert isinstance(store, SqlStore)
    found = store._list(lambda db: db.rows("SELECT id FROM coinslot_owners", {})).result()
    return {str(row[0]) for row in found} - {owner_of(store)}


def lapse(store: object, dead: set[str] | None = None) -> bool:
    """Forget these owners, or all but this store's own. Always true, for conditions."""
    assert isinstance(store, SqlStore)
    gone = owners(store) if dead is None else dead

    def forget(db: Db) -> None:
        for owner in gone:
            operations.resign(db, owner)

    store._write(forget).result()
    return True
