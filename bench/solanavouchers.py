"""A Solana voucher side by side with solana-pay-kit, in turns: verified, signed, and taken by the whole gate.

Both programs are given the same vouchers, and the same headers with the same challenge: the two bind challenges alike.
"The whole gate" is a header in, the fields of the answer out, with channels in memory: `Gate.admit` here, there
`Session.handle`. Rounds alternate on one core, and the median of the processor's time counts. In both the garbage
collector is set as our servers set it: it passes over the thousands of headers that wait here.

pay-kit runs in an environment of its own: that of the interop tests, /opt/venv/paykit, or the Python named by
COINSLOT_PAYKIT. Where there is none, its figures are left out and `skipped()` says so.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Awaitable
from typing import Any

from bench.instant import REALM, SECRET
from bench.peers import ROUNDS, _row, find_python, talking, turns
from bench.sessionrig import DEPOSIT, PRICE, challenge, fill, issuer, unit_units
from bench.solanarig import IDLE_S, RECIPIENT, RIG, SLOT
from coinslot.core.credential import find_credential
from coinslot.drive import RealAsyncWorld, run_async
from coinslot.methods.solana.session.voucher import read_signed_voucher, sign_voucher
from coinslot.methods.solana.tokens import LOCALNET, USDC
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import paid_headers
from coinslot.server.gate import Gate
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.services.collecting import LOOK_AFTER, spare_what_stands
from coinslot.store.memory import MemoryStore

PATH = "/paid/report"
# Of each round, ours and the peer's: a round is as long as a twentieth of a second. Every header is good once.
TIMES, PEER_TIMES = 500, 50
ANSWERED = [("content-type", "application/json"), ("content-length", "14")]
PEER = "solana-pay-kit"


@functools.cache
def peer_python() -> str | None:
    """A Python that can import solana-pay-kit, or None."""
    module = "solana_pay_kit.protocols.mpp.server.session_method"
    return find_python("COINSLOT_PAYKIT", "paykit", "/opt/venv/paykit/bin/python", module)


def skipped() -> str | None:
    """Why there is no peer, if there is none."""
    if peer_python() is None:
        return "solana-pay-kit is not installed: run the interop tests once, or set COINSLOT_PAYKIT to its Python"
    return None


def _done(made: Awaitable[object]) -> object:
    """The result of a coroutine that waits for nothing."""
    try:
        made.send(None)  # type: ignore[attr-defined]  # it is a coroutine
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the peer's time is ours)."""
    store, (owner,) = MemoryStore(), RIG.purses(1)
    fill(store, RIG, [owner])
    gate, price, world = Gate(issuer(), store), Price(PRICE, [RIG.seller()]), RealAsyncWorld()
    headers = list(owner.vouchers(challenge(RIG, PATH), unit_units(), ROUNDS * TIMES))
    shown = [credential.payload_object() for one in headers if (credential := find_credential((one,), ()))]
    vouchers = [one["voucher"] for one in shown]
    coming, read, totals = iter(headers), itertools.cycle(vouchers), itertools.count(1)
    signer, channel_id = owner.channel.signer, owner.channel.id

    def admit() -> None:
        request = Incoming("GET", PATH, "", {"authorization": (next(coming),)})
        admitted = _done(run_async(gate.admit(request, price), world))
        assert isinstance(admitted, SessionAdmission), admitted
        paid_headers(ANSWERED, admitted.receipt, admitted.headers)

    def verify() -> None:
        read_signed_voucher(next(read)).verify(signer)

    def sign() -> None:
        sign_voucher(owner.key, channel_id, next(totals)).members()

    told: dict[str, Any] = {
        "secret": SECRET,
        "realm": REALM,
        "amount": unit_units(),
        "mint": USDC,
        "recipient": RECIPIENT,
        "network": LOCALNET,
        "channel": channel_id,
        "signer": signer,
        "open_slot": SLOT,
        "deposit": DEPOSIT,
        "idle_s": IDLE_S,
        "look_after": LOOK_AFTER,
        "seed": owner.key.secret().hex(),
        "headers": headers[: ROUNDS * PEER_TIMES],
        "vouchers": vouchers[: ROUNDS * PEER_TIMES],
    }
    spare_what_stands()  # both programs, alike
    with talking(peer_python(), "paykit_rounds.py", told) as peer:
        gates = turns([("ours", admit)], peer, "handle", TIMES, PEER_TIMES)
        verified = turns([("ours", verify)], peer, "verify", TIMES, TIMES)
        signed = turns([("ours", sign)], peer, "sign", TIMES, TIMES)
    return [
        _row("a Solana voucher, whole gate, memory", gates["ours"], gates.get("peer"), PEER),
        _row("read and verify a Solana voucher", verified["ours"], verified.get("peer"), PEER),
        _row("sign a Solana voucher", signed["ours"], signed.get("peer"), PEER),
    ]


if __name__ == "__main__":
    print(skipped() or "", file=sys.stderr)
    for each in rows():
        print(each)
