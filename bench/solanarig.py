"""Solana's sessions for sessionrig.py: channels in USDC of payers that sign for themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.sessionrig import DEPOSIT
from coinslot.chains.solana.address import address_text
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge
from coinslot.drive import RealWorld, Rpc, World
from coinslot.intents.session import Channel
from coinslot.methods.solana.session.channel import Seeds
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM, GRACE_PERIOD_S, TREASURY_OWNER
from coinslot.methods.solana.session.payload import VoucherPayload
from coinslot.methods.solana.session.payout import Till
from coinslot.methods.solana.session.record import NAME, Recorded
from coinslot.methods.solana.session.seller import SessionConfig, SolanaSessionSeller
from coinslot.methods.solana.session.voucher import sign_voucher
from coinslot.methods.solana.tokens import LOCALNET, USDC
from coinslot.money import Asset

NETWORK = "solana:" + "1" * 32
TOKEN = Asset(NETWORK, USDC, 6, "USDC", "USD")
IDLE_S = 300
# Where every channel was opened.
SLOT = 380_000_000
_OWNER = Key(b"\x11" * 32)
RECIPIENT = _OWNER.address


@dataclass(frozen=True, slots=True)
class SolanaPurse:
    """The payer's side of one channel; see sessionrig.Purse."""

    key: Key
    channel: Channel

    def vouchers(self, challenge: Challenge, step_units: int, count: int) -> Iterator[str]:
        """Header values, each good for one more request."""
        for number in range(1, count + 1):
            voucher = sign_voucher(self.key, self.channel.id, number * step_units)
            payload = VoucherPayload(self.channel.id, voucher).members()
            yield "Payment " + encode_object({"challenge": challenge.echo(), "payload": payload})


class Standing(RealWorld):
    """Its chain has stood still since the channels were opened."""

    def rpc(self, effect: Rpc) -> object:
        """The one blockhash there is."""
        if effect.method != "getLatestBlockhash":
            raise RuntimeError(f"no bench asks a chain for {effect.method}")
        told = {"blockhash": address_text(b"\x22" * 32), "lastValidBlockHeight": SLOT}
        return {"context": {"slot": SLOT}, "value": told}


class SolanaRig:
    """See sessionrig.Rig."""

    network = NETWORK

    def seller(self) -> SolanaSessionSeller:
        """A seller of channels that payers sign for."""
        return SolanaSessionSeller(
            SessionConfig(
                rpc_url="",
                cluster=LOCALNET,
                program=CHANNEL_PROGRAM,
                asset=TOKEN,
                token_program=TOKEN_PROGRAM,
                recipient=RECIPIENT,
                till=Till(_OWNER, _OWNER, TREASURY_OWNER, 0),
                grace_s=GRACE_PERIOD_S,
                idle_s=IDLE_S,
            )
        )

    def purses(self, number: int) -> Sequence[SolanaPurse]:
        """Keys and salts are counted."""
        made = []
        for index in range(1, number + 1):
            key = Key(index.to_bytes(32, "big"))
            seeds = Seeds(key.address, RECIPIENT, USDC, key.address, index, SLOT)
            recorded = Recorded(
                NETWORK, CHANNEL_PROGRAM, seeds, TOKEN_PROGRAM, key.address, GRACE_PERIOD_S, idle_s=IDLE_S
            )
            channel = Channel(
                key=recorded.key,
                id=recorded.id,
                network=NETWORK,
                method=NAME,
                payer=key.address,
                payee=RECIPIENT,
                signer=key.address,
                asset=TOKEN.key,
                deposit=DEPOSIT,
                state=recorded.encode(),
            )
            made.append(SolanaPurse(key, channel))
        return made

    def world(self) -> World:
        """A challenge takes the newest blockhash."""
        return Standing()


RIG = SolanaRig()
