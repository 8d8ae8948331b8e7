"""A payment method for tests: whole, real, and found by entry point, without an edit of any file in src/.

Payers write cheques (signed with an HMAC) on accounts of a bank (see toybank.py). Two ways to pay: pull, where the
server submits the cheque, and push (`push=True` in the wallet), where the payer submits it and presents its hash.
Sessions, through payment channels, are in toysession.py.

    bank = Bank(str(tmp_path / "bank.db")).create()
    secret = bank.open("alice", coin=5_000_000)
    wallet(toy={"bank": bank.path, "account": "alice", "secret": secret})            # the payer's settings
    {"method": "toy", "bank": bank.path, "recipient": "shop"}                        # the seller's settings

Fixtures `bank` (accounts alice and shop) and `alice` (alice's wallet settings) are in support.toyfixtures.
`importlib.metadata` finds the method through tests/toy_method-1.0.dist-info; a subprocess needs PYTHONPATH=tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from coinslot.core.challenge import Challenge
from coinslot.core.instant import parse_instant
from coinslot.drive import Flow, call
from coinslot.errors import (
    CoinslotError,
    ConfigError,
    InvalidChallenge,
    NoPayableOffer,
    PaymentInsufficient,
    PaymentOutcomeUnknown,
    RpcRefused,
    RpcUnreachable,
    UsageError,
    VerificationFailed,
)
from coinslot.intents.charge import Checked, Outcome, Payee, Pending, Prepared, Recognised, Refused, Settled, Terms
from coinslot.method import ChargePayer, ChargeSeller, Extras, Fate, Presentation, Sending, Sessions
from coinslot.money import Asset, parse_units, to_units
from coinslot.plain import PlainSeller
from support.toybank import FUNDS, Bank, hash_of, sign
from support.toychannel import DECIMALS, NAME, PEGS, asset
from support.toyescrow import V2
from support.toysession import ToySessions


@dataclass(frozen=True, slots=True)
class ToyTerms(Terms):
    """Terms and the bank on which they are paid."""

    bank: str


def read_terms(request: Mapping[str, Any]) -> ToyTerms:
    """The terms of a request object. Raises UsageError."""
    details = request.get("methodDetails")
    if not isinstance(details, Mapping) or not isinstance(details.get("bank"), str):
        raise UsageError("a request without its bank")
    currency, recipient = request.get("currency"), request.get("recipient")
    if currency not in PEGS or not isinstance(recipient, str) or not recipient:
        raise UsageError("a request without a known currency or recipient")
    total = parse_units(request.get("amount"))
    splits = details.get("splits", [])
    if not isinstance(splits, list) or not all(isinstance(one, Mapping) for one in splits):
        raise UsageError("splits that are no list of objects")
    others = tuple(Payee(str(one.get("recipient")), parse_units(one.get("amount"))) for one in splits)
    rest = total - sum(one.amount_units for one in others)
    if rest <= 0:
        raise UsageError("splits that leave nothing")
    known = asset(str(details["bank"]), str(currency))
    return ToyTerms(known, total, (Payee(recipient, rest), *others), str(details["bank"]))


def cheque_body(challenge: Challenge, terms: ToyTerms, payer: str) -> bytes:
    """The one spelling of a cheque that pays a challenge."""
    return json.dumps(
        {
            "bank": terms.bank,
            "challenge": challenge.id,
            "payer": payer,
            "asset": terms.asset.id,
            "payees": [[one.recipient, str(one.amount_units)] for one in terms.payees],
            "dead_after": parse_instant(challenge.expires or ""),
        },
        sort_keys=True,
    ).encode()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A good cheque, and whether the payer has submitted it already."""

    raw: bytes
    pushed: bool


class ToySeller(PlainSeller):
    """The server's side."""

    method = NAME
    intent = "charge"

    def __init__(self, bank: Bank, identity: str, recipient: str, currency: str) -> None:
        self.bank, self.identity, self.recipient, self.currency = bank, identity, recipient, currency

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """See method.py."""
        units = to_units(price, DECIMALS)
        if units <= 0:
            raise UsageError("a price of nothing")
        details: dict[str, Any] = {"bank": self.identity}
        if extras.splits:
            details["splits"] = [
                {"recipient": who, "amount": str(to_units(share, DECIMALS))} for who, share in extras.splits
            ]
        request: dict[str, Any] = {
            "amount": str(units),
            "currency": self.currency,
            "recipient": self.recipient,
            "methodDetails": details,
        }
        if extras.description is not None:
            request["description"] = extras.description
        if extras.external_id is not None:
            request["externalId"] = extras.external_id
        read_terms(request)
        return request

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """See method.py."""
        try:
            terms = read_terms(request)
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None
        if (terms.bank, terms.asset.id) != (self.identity, self.currency):
            raise InvalidChallenge("another bank or currency")
        return terms

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """See method.py."""
        challenge, payload = recognised.credential.challenge, recognised.credential.payload_object()
        terms = recognised.terms
        assert isinstance(terms, ToyTerms)
        payer, signature, pushed = payload.get("payer"), payload.get("signature"), payload.get("hash")
        if not isinstance(payer, str):
            raise VerificationFailed("a proof without payer")
        body = cheque_body(challenge, terms, payer)
        if pushed is not None:
            entry = yield from call(self.bank.look_up, str(pushed))
            if entry is None or entry.state != "settled" or entry.raw != body:
                raise VerificationFailed("no such cheque for this challenge at the bank")
        elif not isinstance(signature, str) or not (yield from call(self.bank.verify, payer, body, signature)):
            raise VerificationFailed("the signature is not the payer's")
        proof = f"toy:{self.identity}/cheque/{hash_of(body)}"
        return Checked(recognised, payer, proof, evidence=Evidence(body, pushed is not None))

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """See method.py."""
        evidence, challenge = checked.evidence, checked.recognised.credential.challenge
        assert isinstance(evidence, Evidence)
        if not evidence.pushed:
            try:
                yield from call(self.bank.simulate, evidence.raw)
            except RpcRefused as error:
                kind = PaymentInsufficient if error.code == FUNDS else VerificationFailed
                raise kind(str(error)) from None
        return Prepared(
            challenge,
            checked.payer,
            checked.proof,
            hash_of(evidence.raw),
            b"" if evidence.pushed else evidence.raw,
            parse_instant(challenge.expires or ""),
        )

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """See method.py."""
        if prepared.raw:
            yield from call(self.bank.submit, prepared.raw)

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """See method.py."""
        entry = yield from call(self.bank.look_up, prepared.reference)
        if entry is None:
            at_s = yield from call(self.bank.now)
            dead = prepared.dead_after_s is not None and at_s > prepared.dead_after_s
            return Refused("never taken in, and past its time") if dead else Pending("the bank has not seen it")
        if entry.state == "settled":
            return Settled(prepared.reference, entry.at_s)
        return Refused("reverted") if entry.state == "reverted" else Pending("not settled yet")


class ToyPayer:
    """The client's side."""

    method = NAME
    intent = "charge"

    def __init__(self, bank: Bank, identity: str, wallet: Wallet) -> None:
        self.bank, self.identity, self._wallet = bank, identity, wallet

    def terms(self, challenge: Challenge) -> Terms:
        """See method.py."""
        try:
            terms = read_terms(challenge.request_object())
        except CoinslotError as error:
            raise NoPayableOffer(str(error)) from None
        if terms.bank != self.identity:
            raise NoPayableOffer(f"this wallet knows the bank {self.identity!r} only")
        return terms

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """See method.py."""
        assert isinstance(terms, ToyTerms)
        account = self._wallet.account
        body = cheque_body(challenge, terms, account)
        reference = hash_of(body)
        if not self._wallet.push:
            payload = {"payer": account, "signature": sign(self._wallet.secret, body)}
            return Presentation(payload, f"toy:{account}", reference)
        yield from ()
        sending = Sending(body, int(parse_instant(challenge.expires or "")))
        return Presentation({"payer": account, "hash": reference}, self.source(), reference, sending)

    def source(self) -> str:
        """See method.py."""
        return f"toy:{self._wallet.account}"

    def pushes(self, terms: Terms) -> bool:
        """See method.py."""
        return self._wallet.push

    def send(self, sending: Sending, *, again: bool) -> Flow[None]:
        """See method.py."""
        reference = hash_of(sending.raw)
        try:
            yield from call(self.bank.submit, sending.raw)
        except RpcUnreachable as error:
            raise PaymentOutcomeUnknown("the bank did not answer", reference=reference) from error
        except RpcRefused as error:
            if again and (yield from call(self.bank.now)) <= sending.valid_until:
                raise PaymentOutcomeUnknown("the bank may have it elsewhere", reference=reference) from error
            raise NoPayableOffer(str(error)) from None

    def look(self, sending: Sending) -> Flow[Fate]:
        """See method.py."""
        entry = yield from call(self.bank.look_up, hash_of(sending.raw))
        if entry is None:
            late = (yield from call(self.bank.now)) > sending.valid_until
            return Fate.DEAD if late else Fate.OPEN
        return {"settled": Fate.LANDED, "reverted": Fate.DEAD}.get(entry.state, Fate.OPEN)


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """A seller's settings."""

    bank: Annotated[str, msgspec.Meta(description="path of the bank's file")]
    recipient: Annotated[str, msgspec.Meta(min_length=1, description="account that is paid")]
    currency: Annotated[str, msgspec.Meta(description="coin or shell")] = "coin"
    sessions: Annotated[bool, msgspec.Meta(description="take payment channels as well")] = False
    flavour: Annotated[str, msgspec.Meta(description="of payment channels: v1 or v2")] = V2
    min_delta: Annotated[int, msgspec.Meta(ge=0, description="least step between vouchers, base units")] = 0
    credit_units: Annotated[int, msgspec.Meta(ge=0, description="what a channel may owe, base units")] = 0
    batch: Annotated[int, msgspec.Meta(ge=1, description="channels that one payout settles at most")] = 4


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """A payer's settings."""

    bank: Annotated[str, msgspec.Meta(description="path of the bank's file")]
    account: Annotated[str, msgspec.Meta(min_length=1, description="account that pays")]
    secret: Annotated[str, msgspec.Meta(description="what the account signs with, hex")]
    push: Annotated[bool, msgspec.Meta(description="submit the cheque here instead of leaving it to the server")] = (
        False
    )
    signer_secret: Annotated[str | None, msgspec.Meta(description="what signs vouchers instead, hex")] = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Wallet(account={self.account!r})"


class Toy:
    """What is published."""

    name = NAME
    Accept = Accept
    Wallet = Wallet
    keys = None
    sessions: Sessions = ToySessions()
    read_terms = staticmethod(read_terms)

    @staticmethod
    def known_asset(key: str) -> Asset | None:
        """See method.py."""
        place, _, name = key.rpartition("/")
        return asset(place.removeprefix("toy:"), name) if name in PEGS else None

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[ChargeSeller]]:
        """See method.py."""
        assert isinstance(accept, Accept)
        if accept.currency not in PEGS:
            raise ConfigError(f"currency: {accept.currency!r} is neither coin nor shell")
        bank = Bank(accept.bank)
        identity = yield from call(bank.identity)
        return [ToySeller(bank, identity, accept.recipient, accept.currency)]

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[ChargePayer]]:
        """See method.py."""
        assert isinstance(wallet, Wallet)
        bank = Bank(wallet.bank)
        identity = yield from call(bank.identity)
        return [ToyPayer(bank, identity, wallet)]


METHOD = Toy()
