"""The keyed requests of all channels, in memory; keyed.py tells how long a key is known, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from coinslot.intents.session import Channel, Refused, Spent, Stale, Why
from coinslot.store.channels import KEPT_KEYS, MAX_RUNNING_KEYS, SMALL_KEPT_BODY, KeptKey, Order, Repeated
from coinslot.store.keyed_rules import not_shown, payer_of
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery


@dataclass(slots=True)
class _Kept:
    request_hash: str
    number: int
    touched_at_s: float
    running: bool = True
    answer: Delivery | None = None

    @property
    def size(self) -> int:
        """How much of a large body is kept; a small one counts as nothing."""
        body = None if self.answer is None else self.answer.body
        return 0 if body is None or len(body) <= SMALL_KEPT_BODY else len(body)


class _Keys:
    """What is known of a channel's keys, in the order of their numbers."""

    def __init__(self, payer: str) -> None:
        self.payer = payer
        self.kept: dict[str, _Kept] = {}
        self._newest = 0

    def buy(self, name: str, request_hash: str, at_s: float) -> list[str] | None:
        """Put a new key down as running: those that fell out; None where too many run, and nothing changed."""
        old = self._newest + 1 - KEPT_KEYS
        falling = [*takewhile(lambda each: each[1].number <= old, self.kept.items())]
        running = sum(kept.running for _, kept in falling)
        if running > MAX_RUNNING_KEYS and running == len(falling):  # F28
            return None
        fallen = [other for other, kept in falling if not kept.running]  # F14
        for other in fallen:  # F28
            del self.kept[other]
        self._newest += 1
        self.kept[name] = _Kept(request_hash, self._newest, at_s)
        return fallen

    def put(self, name: str, request_hash: str, at_s: float, answer: Delivery | None = None, *, running: bool) -> None:
        """A key that is as young as the youngest from now on."""
        self._newest = max(self._newest, 1)
        self.kept[name] = _Kept(request_hash, self._newest, at_s, running, answer)

    def make_room(self) -> None:
        """Of the larger bodies the newest stay."""
        total = 0
        for each in reversed(self.kept.values()):
            total += each.size
            if each.answer is not None and each.size and total > MAX_KEPT_BODY:
                each.answer = replace(each.answer, body=None)


class Requests:
    """What is known of every key. The store's lock is held."""

    def __init__(self) -> None:
        self._of: dict[str, _Keys] = {}
        self._holders: dict[tuple[str, str], str] = {}  # payer and key: the channel

    def _holder(self, order: Order, found: Channel) -> _Keys | None:
        name = order.idempotency_key or ""
        holder = self._holders.get((payer_of(found), name))
        return None if holder is None else self._of[holder]

    def repeated(self, order: Order, found: Channel) -> Repeated | Refused | Stale | Spent | None:
        """How a request under a known key goes on; None: the key is new."""
        holder = self._holder(order, found)
        if holder is None:
            return None
        stopped = not_shown(found, order) if holder is not self._of.get(order.key) else None  # T05
        if stopped is not None:
            return stopped
        kept = holder.kept[order.idempotency_key or ""]
        if kept.request_hash != order.request_hash:
            return Refused(Why.KEY_REUSED, found)
        if kept.running or kept.answer is not None:  # F14
            return Repeated(found, kept.answer)
        return Spent(found)

    def remember(self, order: Order, found: Channel, at_s: float) -> bool:
        """Put the key down as bought and running; False where too many run, and nothing changed."""
        name, holder = order.idempotency_key or "", self._holder(order, found)
        mine = self._of.setdefault(order.key, _Keys(payer_of(found)))
        if holder is not None:
            del holder.kept[name]
            mine.put(name, order.request_hash, at_s, running=True)
            self._drop_if_empty(self._holders[mine.payer, name])
        else:
            fallen = mine.buy(name, order.request_hash, at_s)
            if fallen is None:
                return False
            for other in fallen:
                del self._holders[mine.payer, other]
        self._holders[mine.payer, name] = order.key
        return True

    def keep(self, key: str, name: str, answer: Delivery | None, at_s: float) -> None:
        """Keep an answer, or (None) let the request be run again."""
        mine = self._of.get(key)
        kept = None if mine is None else mine.kept.pop(name, None)
        if mine is None or kept is None:
            return
        body = None if answer is None else answer.body
        whole = body is None or len(body) <= MAX_KEPT_BODY
        given = answer if answer is None or whole else replace(answer, body=None)
        mine.put(name, kept.request_hash, at_s, given, running=False)
        if body is not None and len(body) > SMALL_KEPT_BODY:
            mine.make_room()

    def old(self, closed: Sequence[str], until_s: float, limit: int) -> list[KeptKey]:
        """Keys of these channels that nobody touched since then, oldest first."""
        found = [
            (kept.touched_at_s, key, name)
            for key in closed
            for name, kept in (self._of[key].kept.items() if key in self._of else ())
            if kept.touched_at_s <= until_s and not kept.running
        ]
        return [KeptKey(key, name) for _, key, name in sorted(found)[:limit]]

    def forget(self, keys: Sequence[KeptKey], until_s: float) -> int:
        """Forget those that are still so old; how many there were."""
        forgotten = 0
        for each in keys:
            mine = self._of.get(each.channel)
            kept = None if mine is None else mine.kept.get(each.idempotency_key)
            if mine is None or kept is None or kept.touched_at_s > until_s:
                continue
            del mine.kept[each.idempotency_key]
            del self._holders[mine.payer, each.idempotency_key]
            forgotten += 1
            self._drop_if_empty(each.channel)
        return forgotten

    def _drop_if_empty(self, key: str) -> None:
        if not self._of[key].kept:  # F28
            del self._of[key]
