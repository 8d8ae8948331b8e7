"""Key authorizations: an account lets another key sign for it, within limits (access keys).

The RLP of what the account signs is

    [chain_id, key_type, key_id, expiry?, limits?, allowed_calls?, witness?, is_admin?, account?]

where what is absent at the end is left out, and what is absent before something present is an empty string. Signed, it
is [authorization, signature], and travels in the transaction that uses the key first, or in one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.evm import rlp
from coinslot.chains.evm.abi import UINT256_MAX
from coinslot.chains.evm.address import address_bytes, address_text
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import SIGNATURE_BYTES, PrivateKey, recover
from coinslot.errors import BadTransaction, UsageError

KEY_TYPE_SECP256K1 = 0
_KEY_TYPES = 4  # secp256k1, P-256, WebAuthn, multisig
_U64_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """What the key may spend of a token, in base units: once, or anew every `period_s` seconds if not 0."""

    token: str
    amount_units: int
    period_s: int = 0


@dataclass(frozen=True, slots=True)
class SelectorRule:
    """A function the key may call, 4 bytes; `recipients` limits its first argument, empty means any."""

    selector: bytes
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallScope:
    """A contract the key may call; without rules, every function of it."""

    target: str
    rules: tuple[SelectorRule, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyAuthorization:
    """What an account allows a key. `limits` None: no limit, (): may spend nothing; `allowed_calls` likewise.

    `chain_id` 0 means every chain, `expires_at` None never; `witness` is 32 bytes that tie the authorization to
    something outside the chain; an admin key manages other keys; `account` names the account it is meant for.
    """

    key_id: str
    chain_id: int
    key_type: int = KEY_TYPE_SECP256K1
    expires_at: int | None = None
    limits: tuple[TokenLimit, ...] | None = None
    allowed_calls: tuple[CallScope, ...] | None = None
    witness: bytes | None = None
    is_admin: bool = False
    account: str | None = None


@dataclass(frozen=True, slots=True)
class SignedKeyAuthorization:
    """An authorization and the signature under it. `signer` is the account's key, None for kinds we can't check."""

    authorization: KeyAuthorization
    signature: bytes
    signer: str | None


def key_authorization_digest(authorization: KeyAuthorization) -> bytes:
    """What the account signs. Raises UsageError for values out of range."""
    return keccak256(rlp.encode(_payload(authorization)))


def sign_key_authorization(authorization: KeyAuthorization, key: PrivateKey) -> bytes:
    """The signed authorization as TempoTransaction.key_authorization takes it. Raises UsageError."""
    signature = key.sign_digest(key_authorization_digest(authorization))
    return rlp.encode([_payload(authorization), signature])


def read_key_authorization(raw: bytes) -> SignedKeyAuthorization:
    """Read a signed authorization; one spelling only. Raises BadTransaction or BadSignature."""
    items = rlp.decode(raw)
    if not isinstance(items, tuple) or len(items) != 2 or not isinstance(items[1], bytes):
        raise BadTransaction("a signed key authorization is an authorization and a signature")
    authorization, signature = _read(items[0]), items[1]
    try:
        again = _payload(authorization)
    except UsageError as error:
        raise BadTransaction(str(error)) from error
    if rlp.encode([again, signature]) != raw:
        raise BadTransaction("a key authorization is not in its canonical spelling")
    signer = None
    if len(signature) == SIGNATURE_BYTES:
        signer = recover(key_authorization_digest(authorization), signature)
    elif signature[:1] not in (b"\x01", b"\x02", b"\x05"):
        raise BadTransaction("a key authorization is signed by an unknown kind of signature")
    return SignedKeyAuthorization(authorization, signature, signer)


# --- writing -------------------------------------------------------------------------------------


def _payload(authorization: KeyAuthorization) -> list[rlp.Encodable]:
    _check(authorization)
    limits, scopes = authorization.limits, authorization.allowed_calls
    trailing: list[rlp.Encodable | None] = [
        authorization.expires_at,
        None if limits is None else [_limit_item(limit) for limit in limits],
        None if scopes is None else [_scope_item(scope) for scope in scopes],
        authorization.witness,
        1 if authorization.is_admin else None,
        None if authorization.account is None else address_bytes(authorization.account),
    ]
    while trailing and trailing[-1] is None:
        trailing.pop()
    key = address_bytes(authorization.key_id)
    head: list[rlp.Encodable] = [authorization.chain_id, authorization.key_type, key]
    return head + [b"" if item is None else item for item in trailing]


def _check(authorization: KeyAuthorization) -> None:
    if not 0 <= authorization.chain_id <= _U64_MAX or not 0 <= authorization.key_type < _KEY_TYPES:
        raise UsageError("a key authorization has a chain id or a key type out of range")
    if authorization.expires_at is not None and not 0 < authorization.expires_at <= _U64_MAX:
        raise UsageError("a key authorization ends at a time after 1970, or never")
    if authorization.witness is not None and len(authorization.witness) != 32:
        raise UsageError("the witness of a key authorization is 32 bytes")
    for limit in authorization.limits or ():
        if not 0 <= limit.amount_units <= UINT256_MAX or not 0 <= limit.period_s <= _U64_MAX:
            raise UsageError("a key's spending limit or its period is out of range")
    for scope in authorization.allowed_calls or ():
        if any(len(rule.selector) != 4 for rule in scope.rules):
            raise UsageError("a selector is 4 bytes")


def _limit_item(limit: TokenLimit) -> rlp.Encodable:
    item: list[rlp.Encodable] = [address_bytes(limit.token), limit.amount_units]
    return [*item, limit.period_s] if limit.period_s else item


def _scope_item(scope: CallScope) -> rlp.Encodable:
    rules: list[rlp.Encodable] = [_rule_item(rule) for rule in scope.rules]
    return [address_bytes(scope.target), rules]


def _rule_item(rule: SelectorRule) -> rlp.Encodable:
    recipients: list[rlp.Encodable] = [address_bytes(recipient) for recipient in rule.recipients]
    return [rule.selector, recipients]


# --- reading -------------------------------------------------------------------------------------


def _read(item: rlp.Item) -> KeyAuthorization:
    if not isinstance(item, tuple) or not 3 <= len(item) <= 9:
        raise BadTransaction("a key authorization has 3 to 9 fields")
    absent: tuple[rlp.Item, ...] = (b"",) * (9 - len(item))
    expiry, limits, scopes, witness, admin, account = item[3:] + absent
    return KeyAuthorization(
        chain_id=rlp.to_int(item[0], bits=64),
        key_type=rlp.to_int(item[1], bits=8),
        key_id=_address(item[2]),
        expires_at=None if expiry == b"" else rlp.to_int(expiry, bits=64),
        limits=None if limits == b"" else tuple(_read_limit(part) for part in _parts(limits)),
        allowed_calls=None if scopes == b"" else tuple(_read_scope(part) for part in _parts(scopes)),
        witness=None if witness == b"" else _bytes(witness),
        is_admin=admin == b"\x01",
        account=None if account == b"" else _address(account),
    )


def _read_limit(item: rlp.Item) -> TokenLimit:
    parts = _parts(item)
    if len(parts) not in (2, 3):
        raise BadTransaction("a key's spending limit is a token, an amount, and perhaps a period")
    period = rlp.to_int(parts[2], bits=64) if len(parts) == 3 else 0
    return TokenLimit(_address(parts[0]), rlp.to_int(parts[1]), period)


def _read_scope(item: rlp.Item) -> CallScope:
    parts = _parts(item)
    if len(parts) != 2:
        raise BadTransaction("a key's scope is a contract and its rules")
    return CallScope(_address(parts[0]), tuple(_read_rule(rule) for rule in _parts(parts[1])))


def _read_rule(item: rlp.Item) -> SelectorRule:
    parts = _parts(item)
    if len(parts) != 2:
        raise BadTransaction("a key's rule is a selector and its recipients")
    return SelectorRule(_bytes(parts[0]), tuple(_address(part) for part in _parts(parts[1])))


def _parts(item: rlp.Item) -> tuple[rlp.Item, ...]:
    if not isinstance(item, tuple):
        raise BadTransaction("bytes stand where a list belongs in a key authorization")
    return item


def _bytes(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes):
        raise BadTransaction("a list stands where bytes belong in a key authorization")
    return item


def _address(item: rlp.Item) -> str:
    if not isinstance(item, bytes) or len(item) != 20:
        raise BadTransaction("an address in a key authorization is not 20 bytes")
    return address_text(item)
