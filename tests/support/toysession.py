"""Sessions of the toy method: payment channels at the toy bank, for tests of servers, clients and settlers.

    Slot(..., toy={"bank": bank.path, "recipient": "shop", "sessions": True})             # flavour "v2"
    Slot(..., toy={..., "sessions": True, "flavour": "v1", "min_delta": 100})

Flavours: "v2" has Rules(bits=96, lower=IGNORE, capture=SPENT), a descriptor in every payload, and a bank that forgets
closed channels; "v1" has Rules(bits=128, lower=REFUSE, capture=VOUCHER), none after opening, and a bank that remembers.
Faults are ordered at the bank (toybank.py); so is its clock, and `bank.set_grace(seconds)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Protocol, cast

import msgspec

from coinslot.core.canonical import canonical, decode_object, encode_object
from coinslot.core.challenge import Challenge
from coinslot.core.instant import format_instant, parse_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, call, now, random_bytes
from coinslot.errors import (
    AmountExceedsDeposit,
    ConfigError,
    InvalidChallenge,
    InvalidVoucher,
    MalformedHeader,
    NoPayableOffer,
    PaymentInsufficient,
    RpcRefused,
    RpcUnreachable,
    SignerMismatch,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.charge import Pending, Prepared, Refused
from coinslot.method import Extras, PlainSessionPayer, PlainSessionSeller, SessionPayer, SessionSeller
from coinslot.money import to_units
from support.toybank import FUNDS, Bank, hash_of
from support.toychannel import (
    CHANNEL_HEADER,
    DECIMALS,
    NAME,
    PEGS,
    RULES,
    SNAPSHOT_HEADER,
    Evidence,
    SessionTerms,
    asset,
    descriptor_of,
    read_descriptor,
    read_payload,
    read_session_terms,
    snapshot_members,
    state_of,
    units_or_none,
    voucher_members,
    voucher_parts,
    voucher_raw,
)
from support.toyescrow import (
    FLAVOURS,
    V2,
    Descriptor,
    Escrowed,
    channel_id,
    encode,
    sign_voucher,
    signed,
    signer_of,
    signer_of_voucher,
    unsigned,
)

# How long a transaction of a seller, or of a payer on its own, may still appear.
TRANSACTION_S = 60.0


class SellerSettings(Protocol):
    """What a seller of sessions needs of the settings in toy.py."""

    bank: str
    recipient: str
    currency: str
    sessions: bool
    flavour: str
    min_delta: int
    credit_units: int
    batch: int


class PayerSettings(Protocol):
    """What a payer needs of the settings in toy.py."""

    bank: str
    account: str
    secret: str
    signer_secret: str | None


def on_chain(network: str, wanted: str, found: Escrowed | None) -> acts.OnChain:
    """What the bank tells of a channel; "v2" forgets the closed ones."""
    key = f"{network}/{wanted}"
    if found is None or (found.closed and found.descriptor.flavour == V2):
        return acts.OnChain(key, False, 0, 0)
    return acts.OnChain(key, True, found.deposit, found.settled, found.closing_at_s, found.closed)


# --- the server's side ---------------------------------------------------------------------------


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


# --- the client's side ---------------------------------------------------------------------------


@dataclass(frozen=True)
class ToySessionPayer(PlainSessionPayer):
    """See method.SessionPayer. `signer_secret` signs vouchers; the account's own secret does where none is given."""

    bank: Bank
    identity: str
    grace_s: float
    account: str
    secret: str
    signer_secret: str
    method: str = NAME
    intent: str = session.INTENT

    def __repr__(self) -> str:
        """Without secrets."""
        return f"ToySessionPayer({self.account!r})"

    @property
    def signer(self) -> str:
        """Whose vouchers count."""
        return signer_of(self.signer_secret)

    def terms(self, challenge: Challenge) -> acts.Terms:
        """See method.py."""
        try:
            terms = read_session_terms(challenge.request_object())
        except (UsageError, MalformedHeader) as error:
            raise NoPayableOffer(str(error)) from None
        if terms.bank != self.identity:
            raise NoPayableOffer(f"this wallet knows the bank {self.identity!r} only")
        return terms

    @property
    def network(self) -> str:
        """See method.py."""
        return f"toy:{self.identity}"

    def source(self) -> str:
        """See method.py."""
        return f"toy:{self.account}"

    def fits(self, held: acts.Held, terms: acts.Terms) -> bool:
        """See method.py."""
        assert isinstance(terms, SessionTerms)
        ours = (held.method, held.network, held.payer, held.signer)
        if ours != (NAME, terms.asset.network, self.account, self.signer):
            return False
        theirs = (held.payee, held.asset, descriptor_of(held.state).flavour)
        return theirs == (terms.recipient, terms.asset.key, terms.flavour)

    def open(self, challenge: Challenge, terms: acts.Terms, deposit_units: int, first_units: int) -> Flow[acts.Move]:
        """See method.py."""
        assert isinstance(terms, SessionTerms)
        if not 0 <= first_units <= deposit_units or deposit_units <= 0:
            raise UsageError("a first voucher within a deposit")
        if (yield from call(self.bank.balance, self.account, terms.asset.id)) < deposit_units:
            raise NoPayableOffer("the account holds less than that deposit")
        salt = (yield from random_bytes(16)).hex()
        descriptor = Descriptor(self.account, terms.recipient, terms.asset.id, self.signer, salt, terms.flavour)
        dead_after_s = parse_instant(challenge.expires or "")
        raw = signed(
            self.secret,
            {
                "escrow": "open",
                "bank": self.identity,
                "payer": self.account,
                "descriptor": asdict(descriptor),
                "deposit": deposit_units,
                "dead_after": dead_after_s,
            },
        )
        held = self._held(descriptor, deposit_units, opened_at_s=(yield from now()))
        voucher = self.sign(held, first_units)
        payload: dict[str, Any] = {
            "action": "open",
            "channelId": held.channel_id,
            "transaction": raw.hex(),
            "descriptor": asdict(descriptor),
            **voucher_members(voucher),
        }
        held = replace(
            held,
            signed_units=first_units,
            voucher=voucher,
            opening=canonical(payload),
            reference=hash_of(raw),
            dead_after_s=dead_after_s,
        )
        return acts.Move(held, payload, self.source(), hash_of(raw), dead_after_s)

    def _held(self, descriptor: Descriptor, deposit_units: int, **fields: Any) -> acts.Held:
        found = channel_id(self.identity, descriptor)
        network = f"toy:{self.identity}"
        return acts.Held(
            f"{network}/{found}",
            found,
            network,
            NAME,
            descriptor.payer,
            descriptor.payee,
            asset(self.identity, descriptor.asset).key,
            descriptor.signer,
            deposit_units,
            state=state_of(descriptor),
            **fields,
        )

    def top_up(self, challenge: Challenge, held: acts.Held, additional_units: int) -> Flow[acts.Move]:
        """See method.py."""
        descriptor = descriptor_of(held.state)
        if (yield from call(self.bank.balance, self.account, descriptor.asset)) < additional_units:
            raise NoPayableOffer("the account holds less than that")
        dead_after_s = parse_instant(challenge.expires or "")
        raw = yield from self._transaction(held, "topUp", dead_after_s, additional=additional_units)
        payload = {
            "action": "topUp",
            "channelId": held.channel_id,
            "transaction": raw.hex(),
            "additionalDeposit": str(additional_units),
            **self._described(held),
        }
        return acts.Move(held, payload, self.source(), hash_of(raw), dead_after_s)

    def _transaction(self, held: acts.Held, act: str, dead_after_s: float, **members: Any) -> Flow[bytes]:
        nonce = (yield from random_bytes(8)).hex()
        common = {"escrow": act, "bank": self.identity, "payer": self.account, "channel": held.channel_id}
        return signed(self.secret, {**common, **members, "nonce": nonce, "dead_after": dead_after_s})

    @staticmethod
    def _described(held: acts.Held) -> dict[str, Any]:
        descriptor = descriptor_of(held.state)
        return {"descriptor": asdict(descriptor)} if descriptor.flavour == V2 else {}

    def sign(self, held: acts.Held, total_units: int) -> bytes:
        """See method.py."""
        if not 0 <= total_units <= held.deposit_units:
            raise UsageError("a voucher is for nothing up to the whole deposit")
        return voucher_raw(total_units, sign_voucher(self.signer_secret, self.identity, held.channel_id, total_units))

    def payload(self, held: acts.Held, act: acts.Act, total_units: int, voucher: bytes) -> Mapping[str, Any]:
        """See method.py."""
        members = voucher_members(voucher)
        if act not in {acts.Act.VOUCHER, acts.Act.CLOSE} or members["cumulativeAmount"] != str(total_units):
            raise UsageError("a voucher of that total, to buy or to close")
        return {"action": act.value, "channelId": held.channel_id, **members, **self._described(held)}

    # --- what a server says, and what the bank says

    def hint(
        self, challenge: Challenge, terms: acts.Terms, fields: Mapping[str, str], held: acts.Held | None
    ) -> acts.Held | None:
        """See method.py."""
        assert isinstance(terms, SessionTerms)
        try:
            told = self._snapshot(challenge, fields)
            if told is None:
                return None
            descriptor = read_descriptor(told.get("descriptor"))
            balance = self._balance(told)
        except (UsageError, MalformedHeader) as error:
            raise NoPayableOffer(f"a snapshot that can't be read: {error}") from None
        claimed = self._held(descriptor, balance.deposit_units or 0)
        if claimed.channel_id != balance.channel_id or not self.fits(claimed, terms):
            raise NoPayableOffer("the server suggests a channel that is not ours, or not under these terms")
        if held is not None and held.channel_id == claimed.channel_id:
            claimed = held
        proven = max(claimed.signed_units, balance.proven_units)
        accepted, spent = balance.accepted_units or 0, balance.spent_units or 0
        if not 0 <= spent <= accepted <= proven:  # T24
            raise NoPayableOffer("the server claims more than we signed")
        newer = balance.proven_units > claimed.signed_units
        return replace(
            claimed,
            signed_units=proven,
            voucher=balance.proven_voucher if newer else claimed.voucher,
            acknowledged_units=max(claimed.acknowledged_units, accepted),
            spent_units=max(claimed.spent_units, spent),
            standing=acts.Standing.OPEN if claimed.standing is acts.Standing.OPENING else claimed.standing,
        )

    @staticmethod
    def _snapshot(challenge: Challenge, fields: Mapping[str, str]) -> Mapping[str, Any] | None:
        header = fields.get(SNAPSHOT_HEADER)
        if header is not None:
            return decode_object(header)
        found = challenge.request_object()["methodDetails"].get("sessionSnapshot")
        return found if isinstance(found, Mapping) else None

    def _balance(self, told: Mapping[str, Any]) -> acts.Balance:
        """Raises UsageError."""
        channel, units = told.get("channelId"), told.get("units")
        if not isinstance(channel, str) or not isinstance(units, int | None):
            raise UsageError("no channelId, or strange units")
        proven_units, proven = 0, b""
        shown = told.get("voucher")
        if isinstance(shown, Mapping):
            shown_units, signature = parse_shown(shown)
            try:
                signer = signer_of_voucher(self.identity, channel, shown_units, signature)
            except ValueError as error:
                raise UsageError(str(error)) from None
            if signer == self.signer:
                proven_units, proven = shown_units, voucher_raw(shown_units, signature)
        return acts.Balance(
            channel,
            units_or_none(told.get("acceptedCumulative")),
            units_or_none(told.get("spent")),
            units_or_none(told.get("deposit")),
            units_or_none(told.get("settled")),
            units_or_none(told.get("requiredCumulative")),
            units,
            proven_units,
            proven,
        )

    def balance(self, receipt: Receipt) -> acts.Balance:
        """See method.py."""
        return self.needed(receipt.extra)

    def needed(self, told: Mapping[str, Any]) -> acts.Balance:
        """See method.py."""
        try:
            return self._balance(told)
        except UsageError as error:
            raise MalformedHeader(str(error)) from None

    def look(self, held: acts.Held) -> Flow[acts.OnChain]:
        """See method.py."""
        found = yield from call(self.bank.look_at, [held.channel_id])
        return on_chain(held.network, held.channel_id, found[0])

    def find(self, since_s: float) -> Flow[Sequence[acts.Held]]:
        """See method.py."""
        found = cast("list[Escrowed]", (yield from call(self.bank.channels_of, self.account, since_s)))
        return [
            self._held(
                one.descriptor,
                one.deposit,
                settled_units=one.settled,
                standing=acts.Standing.OPEN if one.closing_at_s is None else acts.Standing.CLOSING,
                opened_at_s=one.opened_at_s,
                closing_at_s=one.closing_at_s,
            )
            for one in found
        ]

    # --- without the server's help

    def request_close(self, held: acts.Held) -> Flow[acts.Sendable]:
        """See method.py."""
        return (yield from self._sendable(held, "requestClose"))

    def withdraw(self, held: acts.Held) -> Flow[acts.Sendable]:
        """See method.py."""
        return (yield from self._sendable(held, "withdraw"))

    def _sendable(self, held: acts.Held, act: str) -> Flow[acts.Sendable]:
        dead_after_s = (yield from call(self.bank.now)) + TRANSACTION_S
        raw = yield from self._transaction(held, act, dead_after_s)
        return acts.Sendable(hash_of(raw), raw, dead_after_s)

    def withdraw_after_s(self, held: acts.Held) -> float:
        """See method.py."""
        return self.grace_s

    def send(self, raw: bytes) -> Flow[None]:
        """See method.py."""
        reference = yield from call(self.bank.submit, raw)
        entry = yield from call(self.bank.look_up, reference)
        if entry is not None and entry.state == "reverted":
            raise RpcRefused("reverted", code=FUNDS)
        if entry is None or entry.state != "settled":
            raise RpcUnreachable("the bank does not show it yet")


def parse_shown(shown: Mapping[str, Any]) -> tuple[int, str]:
    """The voucher in a snapshot. Raises UsageError."""
    units, signature = units_or_none(shown.get("cumulativeAmount")), shown.get("signature")
    if units is None or not isinstance(signature, str):
        raise UsageError("a voucher without total or signature")
    return units, signature


# --- what is published ---------------------------------------------------------------------------


class ToySessions:
    """See method.Sessions."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[SessionSeller]]:
        """See method.py."""
        given = cast("SellerSettings", accept)
        if not given.sessions:
            return []
        if given.currency not in PEGS or given.flavour not in FLAVOURS:
            raise ConfigError("currency: coin or shell; flavour: v1 or v2")
        bank = Bank(given.bank)
        identity = yield from call(bank.identity)
        grace_s = yield from call(bank.grace)
        made = ToySessionSeller(
            bank,
            identity,
            grace_s,
            given.recipient,
            given.currency,
            given.flavour,
            given.min_delta,
            given.credit_units,
            given.batch,
        )
        return [made]

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[SessionPayer]]:
        """See method.py."""
        given = cast("PayerSettings", wallet)
        bank = Bank(given.bank)
        identity = yield from call(bank.identity)
        grace_s = yield from call(bank.grace)
        signer_secret = given.signer_secret or given.secret
        return [ToySessionPayer(bank, identity, grace_s, given.account, given.secret, signer_secret)]
