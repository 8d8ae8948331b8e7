"""The client's side of the toy method's sessions; see toysession.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from coinslot.core.canonical import canonical, decode_object
from coinslot.core.challenge import Challenge
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, call, now, random_bytes
from coinslot.errors import (
    MalformedHeader,
    NoPayableOffer,
    RpcRefused,
    RpcUnreachable,
    UsageError,
)
from coinslot.intents import acts, session
from coinslot.plain import PlainSessionPayer
from support.toybank import FUNDS, Bank, hash_of
from support.toychannel import (
    NAME,
    SNAPSHOT_HEADER,
    TRANSACTION_S,
    SessionTerms,
    asset,
    descriptor_of,
    on_chain,
    read_descriptor,
    read_session_terms,
    state_of,
    units_or_none,
    voucher_members,
    voucher_raw,
)
from support.toyescrow import (
    V2,
    Descriptor,
    Escrowed,
    channel_id,
    sign_voucher,
    signed,
    signer_of,
    signer_of_voucher,
)


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
        if (yield from call(self.bank.look_at, [held.channel_id]))[0] is None:
            raise NoPayableOffer("the bank knows no such channel")
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
