"""Sessions without a chain: channels are written into a store as the chain would have shown them, vouchers are signed.

What is measured with it is what a paid request costs: reading, binding, verifying, accepting, spending, telling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bench.instant import REALM, SECRET, TOKEN
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.drive import RealWorld, run
from coinslot.intents.session import Channel, Rules
from coinslot.methods.tempo.session.channel import Descriptor, channel_ref
from coinslot.methods.tempo.session.escrow import V2, Escrow, pinned_escrow
from coinslot.methods.tempo.session.payload import VoucherPayload
from coinslot.methods.tempo.session.payout import Payer
from coinslot.methods.tempo.session.record import record
from coinslot.methods.tempo.session.seller import SessionConfig, TempoSessionSeller
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.server.issue import Issuer
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.store.channels import Opened, SessionStore
from coinslot.store.protocol import Claim

CHAIN = 42431
RECIPIENT = "0x742d35cc6634c0532925a3b844bc9e7595f1b0f2"
ZERO = "0x" + "00" * 20
PRICE = "0.0001"
DEPOSIT = 10**12
_KEY = "0x" + "11" * 32


def _escrow() -> Escrow:
    found = pinned_escrow(V2, CHAIN)
    if found is None:
        raise RuntimeError("no escrow is pinned")
    return found


def seller() -> TempoSessionSeller:
    """A seller of v2 sessions whose chain is never asked."""
    key = PrivateKey.from_hex(_KEY)
    payer = Payer(key=key, chain_id=CHAIN, fee_token=TOKEN.id, max_fee_per_gas=10**11)
    return TempoSessionSeller(
        SessionConfig("", _escrow(), TOKEN, RECIPIENT, ZERO, payer, 0, 0, None, False, 0, 30, None)
    )


@dataclass(frozen=True, slots=True)
class Purse:
    """The payer's side of one channel."""

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


def purses(number: int) -> list[Purse]:
    """Channels of as many payers."""
    made = []
    for index in range(1, number + 1):
        key = PrivateKey.from_hex(f"0x{index:064x}")
        descriptor = Descriptor(key.address, RECIPIENT, ZERO, TOKEN.id, f"0x{index:064x}", ZERO, "0x" + "ab" * 32)
        ref = channel_ref(_escrow(), descriptor)
        network = f"eip155:{CHAIN}"
        channel = Channel(
            key=f"{network}/{ref.id}",
            id=ref.id,
            network=network,
            method="tempo",
            payer=key.address,
            payee=RECIPIENT,
            signer=key.address,
            asset=TOKEN.key,
            deposit=DEPOSIT,
            state=record(_escrow(), descriptor).encode(),
        )
        made.append(Purse(key, channel, descriptor))
    return made


def fill(store: SessionStore, owners: list[Purse]) -> None:
    """Channels as the chain would have shown them; a watcher that has just looked."""
    rules = Rules(bits=96)
    for number, one in enumerate(owners):
        challenge = Challenge(f"open{number}", REALM, "tempo", "session", "e30")
        proof = f"{one.channel.network}/tx/{one.channel.id}"
        claim = Claim(challenge, proof, one.channel.payer, "", f"{number}")
        opened = store.open_channel(claim, one.channel, rules).result()
        if not isinstance(opened, Opened):
            raise RuntimeError("the store was not empty")
        store.confirm_open(one.channel.key, DEPOSIT, 0, rules).result()
    store.note_watched(f"eip155:{CHAIN}").result()


def issuer() -> Issuer:
    """Challenges that live as long as any benchmark."""
    return Issuer(REALM, KeyRing((SECRET.encode(),)), expires_in_s=86400)


def challenge(path: str, metering: Metering | None = None) -> Challenge:
    """A challenge for a path."""
    price = Price(PRICE, [seller()], metering=metering)
    return run(issuer().challenges(Incoming("GET", path), price), RealWorld())[0]


def unit_units() -> int:
    """The price in base units."""
    return int(Decimal(PRICE) * 10**6)
