"""The keyed requests of one channel, in memory; keyed.py tells how long a key is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile

from coinslot.intents.session import Channel, Refused, Spent, Why
from coinslot.store.channels import KEPT_KEYS, MAX_RUNNING_KEYS, SMALL_KEPT_BODY, Order, Repeated
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery


@dataclass(slots=True)
class _Kept:
    request_hash: str
    number: int
    running: bool = True
    answer: Delivery | None = None

    @property
    def size(self) -> int:
        """How much of a large body is kept; a small one counts as nothing."""
        body = None if self.answer is None else self.answer.body
        return 0 if body is None or len(body) <= SMALL_KEPT_BODY else len(body)


class Keys:
    """What is known of a channel's keys, in the order of their numbers. The store's lock is held."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._newest = 0

    def repeated(self, order: Order, found: Channel) -> Repeated | Refused | Spent | None:
        """How a request under a known key goes on; None: the key is new."""
        kept = self._kept.get(order.idempotency_key or "")
        if kept is None:
            return None
        if kept.request_hash != order.request_hash:
            return Refused(Why.KEY_REUSED, found)
        if kept.running or kept.answer is not None:  # F14
            return Repeated(found, kept.answer)
        return Spent(found)

    def remember(self, order: Order) -> bool:
        """Put the key down as bought and running; False where too many run, and nothing changed."""
        name = order.idempotency_key or ""
        new = name not in self._kept
        old = self._newest + new - KEPT_KEYS
        falling = [*takewhile(lambda each: each[1].number <= old, self._kept.items())]
        running = sum(kept.running for _, kept in falling)
        if running > MAX_RUNNING_KEYS and running == len(falling):  # F28
            return False
        for other, kept in falling:  # F28
            if not kept.running:  # F14
                del self._kept[other]
        self._newest += new
        self._kept.pop(name, None)
        self._kept[name] = _Kept(order.request_hash, self._newest)
        return True

    def keep(self, name: str, answer: Delivery | None) -> None:
        """Keep an answer, or (None) let the request be run again."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        body = None if answer is None else answer.body
        whole = body is None or len(body) <= MAX_KEPT_BODY
        given = answer if answer is None or whole else replace(answer, body=None)
        self._kept[name] = _Kept(kept.request_hash, self._newest, running=False, answer=given)
        total = 0
        for each in reversed(self._kept.values()) if body is not None and len(body) > SMALL_KEPT_BODY else ():
            total += each.size
            if each.answer is not None and each.size and total > MAX_KEPT_BODY:
                each.answer = replace(each.answer, body=None)
