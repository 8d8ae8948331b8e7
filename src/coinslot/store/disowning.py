"""Giving back what a step may have granted although its commit was reported as failed.

Who asked was told that the outcome is unknown and holds nothing, but its owner's heart beats on: without this a lease,
a window or a running answer that was written all the same would block its payment until the process ends. F17 F19
"""

from __future__ import annotations

from coinslot.store import channel_operations
from coinslot.store.channels import Reservation
from coinslot.store.operations import Db
from coinslot.store.rows import Values


def disown(db: Db, owner: str, token: str) -> None:
    """Give back what the step with that token granted to this owner, if it did. Nothing else is touched."""
    ours: Values = {"owner": owner, "token": token}
    for table in ("payments", "outbox", "keyed"):  # of keyed requests: paid, and free to be run
        db.change(
            f"UPDATE coinslot_{table} SET lease_owner = NULL"  # noqa: S608 - the names stand one line above
            " WHERE lease_owner = :owner AND lease_token = :token",
            ours,
        )
    db.change("DELETE FROM coinslot_owed WHERE lease_owner = :owner AND token = :token AND state = 'begun'", ours)
    windows = db.rows(
        "SELECT id, channel, window_units FROM coinslot_reservations WHERE id = :token AND lease_owner = :owner", ours
    )
    for name, key, units in windows:
        channel_operations.commit(db, owner, f"{token}-", Reservation(name, key, int(units)), (0, 0), None, None)
