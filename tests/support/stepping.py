"""Stop a store between two steps of a gate: another request acts there, as another process could at any time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from coinslot.drive import run
from coinslot.errors import StoreBusy
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.store.futures import failed
from coinslot.store.protocol import Lease, Payment, Store
from support.drained import drained
from support.till import GET, Till, asking


class Between:
    """A store that lets something happen before the first `take`, and passes everything on.

    With `find_fails` it can't be read once a lease was taken.
    """

    def __init__(self, store: Store, before_take: Callable[[], None], find_fails: bool) -> None:
        self._store = store
        self._before_take: Callable[[], None] | None = before_take
        self._find_fails = find_fails

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def take(self, challenge_id: str) -> Future[Lease | None]:
        """Something happens first, once."""
        act, self._before_take = self._before_take, None
        if act is not None:
            act()
        return self._store.take(challenge_id)

    def find(self, challenge_id: str) -> Future[Payment | None]:
        """A look-up."""
        if self._find_fails and self._before_take is None:
            return failed(StoreBusy("busy"))
        return self._store.find(challenge_id)


def _nothing() -> None:
    return None


def interleaved(
    till: Till,
    credential: str,
    before_take: Callable[[], None] = _nothing,
    *,
    find_fails: bool = False,
    **headers: str,
) -> Answer | Admission:
    """Present a credential while something else happens between the look-up and the lease."""
    drained(till.store)  # what was queued before (a lease given back) is written
    gate = replace(till.gate, store=Between(till.store, before_take, find_fails))  # type: ignore[arg-type]
    return run(gate.admit(asking(GET, credential, **headers), till.price), till.world)
