"""A seller and a payer of Tempo sessions with nothing between them: each act by hand, on the local chain."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.core.credential import decode_credential, encode_credential
from coinslot.core.instant import parse_instant
from coinslot.intents import acts, session
from coinslot.intents.charge import Prepared
from coinslot.method import Extras
from coinslot.methods.tempo.session.calls import SessionCall, write_call
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import Version
from coinslot.methods.tempo.session.method import SESSIONS
from coinslot.methods.tempo.session.payer import TempoSessionPayer
from coinslot.methods.tempo.session.record import read_record, scheme_of
from coinslot.methods.tempo.session.seller import TempoSessionSeller
from coinslot.methods.tempo.settings import Accept
from coinslot.methods.tempo.transaction.build import serialise, sign
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, Call, TempoTransaction
from support.temposession import challenge_of, session_payer
from support.temposhop import PATH, Shop

PRICE = "0.001"


def seller_of(shop: Shop, key: PrivateKey, version: Version, **settings: Any) -> TempoSessionSeller:
    """A seller of one protocol for the key's own account."""
    settings = {"rpc_url": shop.chain.rpc_url, "recipient": key.address, "min_deposit": "0"} | settings
    settings |= {"session_key": to_hex(key.secret()), "session_protocols": (version.name,)}
    (seller,) = shop.run(SESSIONS.sellers(Accept(**settings)))
    assert isinstance(seller, TempoSessionSeller)
    return seller


@dataclass
class Stall:
    """A seller, a payer, and the record between them, as a server would keep it."""

    shop: Shop
    seller: TempoSessionSeller
    payer: TempoSessionPayer
    payer_key: PrivateKey
    sponsor: PrivateKey | None = None
    channels: dict[str, session.Channel] = field(default_factory=dict)

    def challenge(self, price: str = PRICE, lives_s: float = 120) -> Challenge:
        """What the seller offers, bound."""
        return challenge_of(dict(self.seller.offer(Decimal(price), Extras(), acts.Tariff())), lives_s)

    def claimed(self, challenge: Challenge, payload: Mapping[str, Any], source: str | None = None) -> acts.Claimed:
        """A credential that travelled."""
        credential = decode_credential(encode_credential(challenge, payload, source).removeprefix("Payment "))
        terms = self.seller.terms(challenge.request_object())
        return acts.Claimed(credential, terms, parse_instant(challenge.expires or ""))

    def check(
        self,
        challenge: Challenge,
        payload: Mapping[str, Any],
        channel: session.Channel | None = None,
        source: str | None = None,
    ) -> acts.Funding:
        """Read and checked."""
        claimed = self.claimed(challenge, payload, source)
        presented = self.seller.read(claimed.credential.payload_object(), claimed.terms)
        funding: acts.Funding = self.shop.run(self.seller.check(presented, claimed, channel))
        return funding

    def prepare(self, funding: acts.Funding, challenge: Challenge) -> Prepared:
        """Ready to be sent, recorded under a name of its own."""
        made: Prepared = self.shop.run(self.seller.prepare(funding, session.under(challenge, funding.proof)))
        return made

    def settle(self, prepared: Prepared) -> acts.FundingOutcome:
        """Sent, and what the chain says."""
        self.shop.run(self.seller.broadcast(prepared))
        return self.confirm(prepared)

    def confirm(self, prepared: Prepared) -> acts.FundingOutcome:
        """What the chain says."""
        outcome: acts.FundingOutcome = self.shop.run(self.seller.confirm(prepared))
        return outcome

    def move(self, deposit: int = 1_000_000, first: int = 0, **challenge: Any) -> tuple[Challenge, acts.Move]:
        """An open that the payer signed."""
        offered = self.challenge(**challenge)
        signed: acts.Move = self.shop.run(self.payer.open(offered, self.payer.terms(offered), deposit, first))
        return offered, signed

    def open(self, deposit: int = 1_000_000, first: int = 0) -> session.Channel:
        """An open channel on record."""
        challenge, move = self.move(deposit, first)
        funding = self.check(challenge, move.payload, source=move.source)
        assert funding.channel is not None
        outcome = self.settle(self.prepare(funding, challenge))
        assert isinstance(outcome, acts.Funded), outcome
        begun = session.begin(funding.channel, self.rules)
        state = outcome.state
        opened = session.opened(begun, state.deposit_units, state.settled_units, self.rules)
        assert isinstance(opened, session.Channel)
        self.channels[opened.key] = opened
        return opened

    def held(self, channel: session.Channel) -> acts.Held:
        """The payer's record of the same channel."""
        return acts.Held(
            key=channel.key,
            channel_id=channel.id,
            network=channel.network,
            method=channel.method,
            payer=channel.payer,
            payee=channel.payee,
            asset=channel.asset,
            signer=channel.signer,
            deposit_units=channel.deposit,
            state=channel.state,
        )

    @property
    def rules(self) -> session.Rules:
        """The engine's."""
        return self.seller.rules(self.seller.terms(self.challenge().request_object()))

    def bought(self, channel: session.Channel, units: int, spent: int) -> session.Channel:
        """After a voucher of so many units, of which so many were spent; read and verified."""
        payload = self.payer.payload(
            self.held(channel), acts.Act.VOUCHER, units, self.payer.sign(self.held(channel), units)
        )
        claimed = self.claimed(self.challenge(), payload)
        presented = self.seller.read(payload, claimed.terms)
        self.seller.verify(presented, channel, claimed, claimed.expires_at_s - 1)
        result = session.purchase(channel, presented.voucher, spent - channel.spent, self.rules)
        assert isinstance(result, session.Spent)
        return result.channel

    def closing(self, channel: session.Channel) -> tuple[session.Channel, session.Close, bool]:
        """The job of closing it now."""
        close = session.close(channel, None, self.rules)
        assert isinstance(close, session.Close)
        return channel, close, True

    def settling(self, channel: session.Channel) -> tuple[session.Channel, session.Close, bool]:
        """The job of settling its voucher."""
        close = session.settlement(channel, self.rules)
        assert close is not None
        return channel, close, False

    def pay_out(self, *jobs: tuple[session.Channel, session.Close, bool]) -> acts.Sendable:
        """Signed, not sent."""
        made: acts.Sendable = self.shop.run(self.seller.pay_out(jobs))
        return made

    def paid_out(self, job: tuple[session.Channel, session.Close, bool], sent: acts.Sendable) -> acts.JobOutcome:
        """What became of one."""
        outcome: acts.JobOutcome = self.shop.run(self.seller.paid_out(*job, sent))
        return outcome

    def done(self, *jobs: tuple[session.Channel, session.Close, bool]) -> list[acts.JobOutcome]:
        """All of it."""
        sent = self.pay_out(*jobs)
        self.shop.run(self.seller.send(sent.raw))
        return [self.paid_out(job, sent) for job in jobs]

    def look(self, *channels: session.Channel) -> list[acts.OnChain]:
        """As the chain has them."""
        return list(self.shop.run(self.seller.look(channels)))

    def ref(self, channel: session.Channel) -> ChannelRef:
        """How to speak of it."""
        return read_record(channel.state).ref

    def ref_of(self, move: acts.Move) -> ChannelRef:
        """How to speak of a channel that was signed for."""
        return read_record(move.held.state).ref

    def signed(self, call: SessionCall | Call, key: PrivateKey | None = None) -> str:
        """A call that the payer (or another) makes by itself, as raw hex."""
        plain = call if isinstance(call, Call) else write_call(self.seller.config.escrow, call)
        tx = TempoTransaction(
            chain_id=42431,
            calls=(plain,),
            gas_limit=2_000_000,
            max_fee_per_gas=50_000_000_000,
            nonce_key=EXPIRING_NONCE_KEY,
            valid_before=self.shop.chain.timestamp() + 20,
            valid_after=secrets.randbelow(10**9) + 1,
            fee_token=PATH,
        )
        return to_hex(serialise(sign(tx, key or self.payer_key)))

    def act(self, call: SessionCall | Call, key: PrivateKey | None = None) -> None:
        """The payer (or another) goes to the chain by itself."""
        told = self.shop.chain.rpc("eth_sendRawTransactionSync", self.signed(call, key))
        assert isinstance(told, dict)
        assert told["status"] == "0x1"

    def signature(self, channel: session.Channel, units: int) -> bytes:
        """The payer's, for a total."""
        return scheme_of(self.ref(channel).escrow).sign(self.payer_key, channel.id, units)

    def balance(self, who: PrivateKey | str) -> int:
        """Base units of pathUSD."""
        return self.shop.chain.balance_of(PATH, who if isinstance(who, str) else who.address)

    def on(self, url: str) -> Stall:
        """The same, through another node."""
        config = replace(self.seller.config, rpc_url=url)
        return replace(self, seller=replace(self.seller, config=config))


def stall(shop: Shop, version: Version, *, sponsored: bool = False, **settings: Any) -> Stall:
    """A fresh seller and payer."""
    payee, payer, sponsor = shop.account(20), shop.account(20), None
    if sponsored:
        sponsor = shop.account(20)
        settings["fee_payer_key"] = to_hex(sponsor.secret())
    key = settings.pop("session_key", payee)
    seller = seller_of(shop, key, version, **{"recipient": payee.address} | settings)
    return Stall(shop, seller, session_payer(shop, payer), payer, sponsor)
