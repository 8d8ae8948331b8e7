"""Tempo's sessions for sessionrig.py: v2 channels of payers that sign for themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.instant import TOKEN
from bench.sessionrig import DEPOSIT
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge
from coinslot.drive import RealWorld, World
from coinslot.intents.session import Channel
from coinslot.methods.tempo.session.channel import Descriptor, channel_ref
from coinslot.methods.tempo.session.escrow import V2, Escrow, pinned_escrow
from coinslot.methods.tempo.session.payload import VoucherPayload
from coinslot.methods.tempo.session.payout import Payer
from coinslot.methods.tempo.session.record import record
from coinslot.methods.tempo.session.seller import SessionConfig, TempoSessionSeller
from coinslot.methods.tempo.session.voucher import VoucherScheme

CHAIN = 42431
RECIPIENT = "0x742d35cc6634c0532925a3b844bc9e7595f1b0f2"
ZERO = "0x" + "00" * 20
_KEY = "0x" + "11" * 32


def _escrow() -> Escrow:
    found = pinned_escrow(V2, CHAIN)
    if found is None:
        raise RuntimeError("no escrow is pinned")
    return found


@dataclass(frozen=True, slots=True)
class TempoPurse:
    """The payer's side of one channel; see sessionrig.Purse."""

    key: PrivateKey
    channel: Channel
    descriptor: Descriptor

    def vouchers(self, challenge: Challenge, step_units: int, count: int) -> Iterator[str]:
        """Header values, each good for one more request."""
        scheme = VoucherScheme(_escrow())
        ref = channel_ref(_escrow(), self.descriptor)
        for number in range(1, count + 1):
            total = number * step_units
            payload = VoucherPayload(ref, total, scheme.sign(self.key, ref.id, total)).members()
            yield "Payment " + encode_object({"challenge": challenge.echo(), "payload": payload})


class TempoRig:
    """See sessionrig.Rig."""

    network = f"eip155:{CHAIN}"

    def seller(self) -> TempoSessionSeller:
        """A seller of v2 sessions."""
        key = PrivateKey.from_hex(_KEY)
        payer = Payer(key=key, chain_id=CHAIN, fee_token=TOKEN.id, max_fee_per_gas=10**11)
        return TempoSessionSeller(
            SessionConfig("", _escrow(), TOKEN, RECIPIENT, ZERO, payer, 0, 0, None, False, 0, 30, None)
        )

    def purses(self, number: int) -> Sequence[TempoPurse]:
        """Keys and salts are counted."""
        made = []
        for index in range(1, number + 1):
            key = PrivateKey.from_hex(f"0x{index:064x}")
            descriptor = Descriptor(key.address, RECIPIENT, ZERO, TOKEN.id, f"0x{index:064x}", ZERO, "0x" + "ab" * 32)
            ref = channel_ref(_escrow(), descriptor)
            channel = Channel(
                key=f"{self.network}/{ref.id}",
                id=ref.id,
                network=self.network,
                method="tempo",
                payer=key.address,
                payee=RECIPIENT,
                signer=key.address,
                asset=TOKEN.key,
                deposit=DEPOSIT,
                state=record(_escrow(), descriptor).encode(),
            )
            made.append(TempoPurse(key, channel, descriptor))
        return made

    def world(self) -> World:
        """A challenge asks nothing of the chain."""
        return RealWorld()


RIG = TempoRig()
