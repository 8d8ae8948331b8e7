"""The server's side of the toy method's sessions; see toysession.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge
from coinslot.core.instant import format_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, call, now, random_bytes
from coinslot.errors import (
    AmountExceedsDeposit,
    InvalidChallenge,
    InvalidVoucher,
    PaymentInsufficient,
    RpcRefused,
    SignerMismatch,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.charge import Pending, Prepared, Refused
from coinslot.method import Extras
from coinslot.money import to_units
from coinslot.plain import PlainSessionSeller
from support.toybank import FUNDS, Bank, hash_of
from support.toychannel import (
    CHANNEL_HEADER,
    DECIMALS,
    NAME,
    RULES,
    SNAPSHOT_HEADER,
    TRANSACTION_S,
    Evidence,
    SessionTerms,
    asset,
    descriptor_of,
    on_chain,
    read_descriptor,
    read_payload,
    read_session_terms,
    snapshot_members,
    state_of,
    voucher_parts,
)
from support.toyescrow import (
    V2,
    Descriptor,
    channel_id,
    encode,
    signer_of_voucher,
    unsigned,
)


@dataclass(frozen=True)
class ToySessionSeller(PlainSessionSeller):
    """See method.SessionSeller. `batch` channels fit into one payout."""

    bank: Bank
    identity: str
    grace_s: float
    recipient: str
    currency: str
    flavour: str = V2
    min_delta: int = 0
    credit_units: int = 0
    batch: int = 4
    method: str = NAME
    intent: str = session.INTENT

    @property
    def network(self) -> str:
        """See method.py."""
        return f"toy:{self.identity}"

    def offer(self, price: Decimal, extras: Extras, tariff: acts.Tariff) -> Mapping[str, Any]:
        """See method.py."""
        if extras.splits:
            raise UsageError("a session has no splits")
        units = to_units(price, DECIMALS)
        if units <= 0:
            raise UsageError("a price of nothing")
        details: dict[str, Any] = {"bank": self.identity, "flavour": self.flavour}
        if self.min_delta:
            details["minVoucherDelta"] = str(self.min_delta)
        request: dict[str, Any] = {
            "amount": str(units),
            "currency": self.currency,
            "recipient": self.recipient,
            "unitType": tariff.unit_type,
            "methodDetails": details,
        }
        if tariff.suggested_deposit is not None:
            request["suggestedDeposit"] = str(to_units(tariff.suggested_deposit, DECIMALS))
        if extras.description is not None:
            request["description"] = extras.description
        if extras.external_id is not None:
            request["externalId"] = extras.external_id
        read_session_terms(request)
        return request

    def terms(self, request: Mapping[str, Any]) -> acts.Terms:
        """See method.py."""
        try:
            terms = read_session_terms(request)
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None
        found = (terms.bank, terms.asset.id, terms.recipient, terms.flavour)
        if found != (self.identity, self.currency, self.recipient, self.flavour):
            raise InvalidChallenge("another bank, currency, recipient or flavour")
        return terms

    def rules(self, terms: acts.Terms) -> session.Rules:
        """See method.py."""
        assert isinstance(terms, SessionTerms)
        return replace(RULES[terms.flavour], min_delta_units=terms.min_delta_units)

    def suggest(self, request: Mapping[str, Any], channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """See method.py."""
        told = snapshot_members(channel, descriptor_of(channel.state), required_units)
        details = {**request["methodDetails"], "channelId": channel.id, "sessionSnapshot": told}
        return {**request, "methodDetails": details}

    def headers(self, channel: session.Channel, required_units: int) -> tuple[tuple[str, str], ...]:
        """See method.py."""
        told = snapshot_members(channel, descriptor_of(channel.state), required_units)
        return ((CHANNEL_HEADER, channel.id), (SNAPSHOT_HEADER, encode_object(told)))

    def read(self, payload: Mapping[str, Any], terms: acts.Terms) -> acts.Presented:
        """See method.py."""
        assert isinstance(terms, SessionTerms)
        try:
            return read_payload(payload, terms)
        except UsageError as error:
            raise VerificationFailed(str(error)) from None

    def takes(self, channel: session.Channel, terms: acts.Terms) -> bool:
        """See method.py."""
        return self.serves(channel) and channel.payee == terms.recipient

    def verify(self, presented: acts.Presented, channel: session.Channel, claimed: acts.Claimed, at_s: float) -> None:
        """See method.py."""
        self.verify_signed(presented, channel.signer)

    def verify_signed(self, presented: acts.Presented, signer: str) -> None:
        """That `signer` signed the voucher."""
        assert presented.voucher is not None
        units, signature = voucher_parts(presented.voucher.raw)
        try:
            found = signer_of_voucher(self.identity, presented.channel_id, units, signature)
        except ValueError as error:
            raise InvalidVoucher(str(error), channel_id=presented.channel_id) from None
        if found != signer:
            raise SignerMismatch("signed by somebody else", channel_id=presented.channel_id)

    def check(
        self, presented: acts.Presented, claimed: acts.Claimed, channel: session.Channel | None
    ) -> Flow[acts.Funding]:
        """See method.py."""
        evidence = presented.evidence
        assert isinstance(evidence, Evidence)
        members = evidence.members
        payer = members.get("payer")
        good = yield from call(self.bank.verify, payer, unsigned(members), str(members.get("signature")))
        if not good or members.get("bank") != self.identity or evidence.raw != encode(members):
            raise VerificationFailed("the transaction is not its payer's, or not for this bank")
        proof = f"{self.network}/tx/{hash_of(evidence.raw)}"
        at_s = yield from now()
        if presented.act is acts.Act.OPEN:
            opened = self._opened(presented, claimed.terms, members, at_s)
            return acts.Funding(presented.act, presented.key, opened.payer, proof, opened, evidence)
        if channel is None or (members.get("channel"), payer) != (channel.id, channel.payer):
            raise VerificationFailed("a top-up of another channel")
        if evidence.additional_units is None or members.get("additional") != evidence.additional_units:
            raise VerificationFailed("the transaction adds something else")
        return acts.Funding(presented.act, presented.key, channel.payer, proof, None, evidence)

    def _opened(
        self, presented: acts.Presented, terms: acts.Terms, members: Mapping[str, Any], at_s: float
    ) -> session.Channel:
        try:
            descriptor = read_descriptor(members.get("descriptor"))
        except UsageError as error:
            raise VerificationFailed(str(error)) from None
        deposit, voucher = members.get("deposit"), presented.voucher
        assert voucher is not None
        wanted = Descriptor(
            str(members["payer"]), terms.recipient, terms.asset.id, descriptor.signer, descriptor.salt, self.flavour
        )
        if descriptor != wanted or channel_id(self.identity, descriptor) != presented.channel_id:
            raise VerificationFailed("the transaction opens another channel")
        if type(deposit) is not int or deposit < terms.amount_units:
            raise PaymentInsufficient("the deposit doesn't cover one unit")
        self.verify_signed(presented, descriptor.signer)
        if voucher.amount_units > deposit:
            raise AmountExceedsDeposit("the first voucher says more than the deposit", channel_id=presented.channel_id)
        return session.Channel(
            presented.key,
            presented.channel_id,
            self.network,
            NAME,
            descriptor.payer,
            descriptor.payee,
            descriptor.signer,
            terms.asset.key,
            deposit,
            accepted=voucher.amount_units,
            voucher=voucher.raw,
            state=state_of(descriptor),
            opened_at_s=at_s,
            used_at_s=at_s,
        )

    def prepare(self, funding: acts.Funding, challenge: Challenge) -> Flow[Prepared]:
        """See method.py."""
        evidence = funding.evidence
        assert isinstance(evidence, Evidence)
        try:
            yield from call(self.bank.simulate, evidence.raw)
        except RpcRefused as error:
            kind = PaymentInsufficient if error.code == FUNDS else VerificationFailed
            raise kind(str(error)) from None
        dead_after_s = float(evidence.members["dead_after"])
        return Prepared(challenge, funding.payer, funding.proof, hash_of(evidence.raw), evidence.raw, dead_after_s)

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """See method.py."""
        yield from call(self.bank.submit, prepared.raw)

    def confirm(self, prepared: Prepared) -> Flow[acts.FundingOutcome]:
        """See method.py."""
        entry = yield from call(self.bank.look_up, prepared.reference)
        stopped = yield from self._not_settled(entry, prepared.dead_after_s or 0.0)
        if stopped is not None:
            return stopped
        members = msgspec.json.decode(prepared.raw)
        act = acts.Act(members["escrow"])
        wanted, added = self._funded(members, act)
        found = (yield from call(self.bank.look_at, [wanted]))[0]
        state = on_chain(self.network, wanted, found)
        return acts.Funded(act, state, added, prepared.reference, entry.at_s)

    def _funded(self, members: Mapping[str, Any], act: acts.Act) -> tuple[str, int]:
        if act is acts.Act.TOP_UP:
            return str(members["channel"]), int(members["additional"])
        return channel_id(self.identity, read_descriptor(members["descriptor"])), int(members["deposit"])

    def _not_settled(self, entry: Any, dead_after_s: float) -> Flow[Refused | Pending | None]:
        if entry is None:
            at_s = yield from call(self.bank.now)
            dead = at_s > dead_after_s
            return Refused("never taken in, and past its time") if dead else Pending("the bank has not seen it")
        if entry.state == "settled":
            return None
        return Refused("reverted") if entry.state == "reverted" else Pending("not settled yet")

    # --- money out

    def serves(self, channel: session.Channel) -> bool:
        """See method.py."""
        if (channel.method, channel.network, channel.payee) != (NAME, self.network, self.recipient):
            return False
        ours = asset(self.identity, self.currency).key
        return channel.asset == ours and descriptor_of(channel.state).flavour == self.flavour

    def look(self, channels: Sequence[session.Channel]) -> Flow[Sequence[acts.OnChain]]:
        """See method.py."""
        found = yield from call(self.bank.look_at, [one.id for one in channels])
        return [on_chain(self.network, one.id, each) for one, each in zip(channels, found, strict=True)]

    def pay_out(self, jobs: Sequence[tuple[session.Channel, session.Close, bool]]) -> Flow[acts.Sendable]:
        """See method.py."""
        if not 1 <= len(jobs) <= self.batch:
            raise UsageError(f"one to {self.batch} channels fit into one payout")
        at_s, nonce = (yield from call(self.bank.now)), (yield from random_bytes(8))
        dead_after_s = at_s + TRANSACTION_S
        members = {
            "escrow": "payOut",
            "bank": self.identity,
            "nonce": nonce.hex(),
            "dead_after": dead_after_s,
            "jobs": [
                {
                    "channel": channel.id,
                    "total": close.voucher_units,
                    "capture": close.capture_units,
                    "closes": closes,
                    "signature": voucher_parts(close.raw)[1] if close.raw else "",
                }
                for channel, close, closes in jobs
            ],
        }
        raw = encode(members)
        try:
            yield from call(self.bank.simulate, raw)
        except RpcRefused as error:
            raise VerificationFailed(str(error)) from None
        return acts.Sendable(hash_of(raw), raw, dead_after_s)

    def send(self, raw: bytes) -> Flow[None]:
        """See method.py."""
        yield from call(self.bank.submit, raw)

    def paid_out(
        self, channel: session.Channel, close: session.Close, closes: bool, sent: acts.Sendable
    ) -> Flow[acts.JobOutcome]:
        """See method.py."""
        entry = yield from call(self.bank.look_up, sent.reference)
        stopped = yield from self._not_settled(entry, sent.dead_after_s)
        if stopped is not None:
            return stopped
        done = yield from call(self.bank.payout, sent.reference, channel.id)
        if done is None:
            return Refused("that transaction is about other channels")
        return acts.Done(done.settled, done.refunded, done.closed, sent.reference, done.at_s)

    # --- what is told

    def receipt(
        self, channel: session.Channel, challenge_id: str, at_s: float, units: int | None, reference: str | None
    ) -> Receipt:
        """See method.py."""
        extra: dict[str, Any] = {
            "intent": session.INTENT,
            "challengeId": challenge_id,
            "channelId": channel.id,
            "acceptedCumulative": str(channel.accepted),
            "spent": str(channel.spent),
        }
        if units is not None:
            extra["units"] = units
        if reference is not None:
            extra["txHash"] = reference
        return Receipt(NAME, channel.id, format_instant(at_s), extra)

    def need(self, channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """See method.py."""
        return {
            "channelId": channel.id,
            "requiredCumulative": str(required_units),
            "acceptedCumulative": str(channel.accepted),
            "deposit": str(channel.deposit),
        }
