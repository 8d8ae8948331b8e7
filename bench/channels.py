"""How fast stores accept a voucher and spend from it: alone (one durable write) and with 64 waiting (they share it).

`python -m bench.channels` prints a table; `rows()` gives it to `python -m bench`. "voucher 20,000 to voucher 1" is the
processor time of the last two thousand vouchers of a channel beside that of its first two thousand.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.store import _row, each_store
from coinslot.core.challenge import Challenge
from coinslot.intents.session import Channel, Rules, Spent, Voucher
from coinslot.store.channels import Order, SessionStore
from coinslot.store.protocol import Claim

# Long enough to see checkpoints, short enough for a bench of everything.
ORDERS = 2_000
ROUNDS = 10
TOGETHER = 64
COST = 10
RULES = Rules(bits=96)
# As large as a real one: a signed voucher, a descriptor.
RAW = b"v" * 400
STATE = b"d" * 500


def _open(store: SessionStore, name: str) -> str:
    channel = Channel(
        f"net:1/0x{name:0>64}", f"0x{name:0>64}", "net:1", "card", "0x" + "a" * 40, "0x" + "b" * 40, "0x" + "a" * 40,
        "net:1/0x" + "c" * 40, 10**12, state=STATE,
    )  # fmt: skip
    challenge = Challenge(f"id-{name}", "api.example", "card", "session", "e" * 280, "2030-01-01T00:00:00Z")
    store.open_channel(Claim(challenge, f"proof-{name}", channel.payer, "h" * 64, "c" * 64), channel, RULES).result()
    store.confirm_open(channel.key, 10**12, 0, RULES).result()
    return channel.id


def _orders(channel_id: str, start: int) -> list[Order]:
    return [
        Order(f"net:1/{channel_id}", COST, RULES, Voucher(channel_id, (start + n + 1) * COST, RAW), 1)
        for n in range(ORDERS)
    ]


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor microseconds per order."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / ORDERS * 1e6, (time.process_time() - processor) / ORDERS * 1e6


def _alone(store: SessionStore, orders: list[Order]) -> None:
    for order in orders:
        assert isinstance(store.accept_and_spend(order).result(), Spent)


def _together(store: SessionStore, orders: list[list[Order]]) -> None:
    """One order of each channel at a time, as that many clients would."""
    for batch in zip(*orders, strict=True):
        for future in [store.accept_and_spend(order) for order in batch]:
            assert isinstance(future.result(), Spent)


def _store_rows(kind: str, store: SessionStore) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []

    def add(what: str, measured: list[tuple[float, float]]) -> None:
        wall, processor = (min(each) for each in zip(*measured, strict=True))
        made.extend(
            [
                _row(f"channels {kind}, {what}: accept+spend/s", round(1e6 / wall), "1/s"),
                _row(f"channels {kind}, {what}: wall", round(wall, 1), "us"),
                _row(f"channels {kind}, {what}: cpu", round(processor, 1), "us"),
            ]
        )

    one = _open(store, "1")
    alone = [_timed(lambda n=n: _alone(store, _orders(one, n * ORDERS))) for n in range(ROUNDS)]  # type: ignore[misc]
    add("1 caller", alone)
    made.append(_row(f"channels {kind}, voucher 20,000 to voucher 1: cpu", round(alone[-1][1] / alone[0][1], 2), "x"))
    many = [_open(store, f"{n}a") for n in range(TOGETHER)]
    share = ORDERS // TOGETHER
    together = []
    for n in range(3):
        orders = [_orders(each, n * ORDERS)[:share] for each in many]
        wall, processor = _timed(lambda orders=orders: _together(store, orders))  # type: ignore[misc]
        scale = ORDERS / (share * TOGETHER)
        together.append((wall * scale, processor * scale))
    add(f"{TOGETHER} callers", together)
    return made


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (no peer here)."""
    return [row for kind, store in each_store() for row in _store_rows(kind, store)]


if __name__ == "__main__":
    for each in rows():
        print(f"{each['name']:<56}{each['value']:>10} {each['unit']}")
