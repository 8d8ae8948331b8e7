"""Random Tempo transactions for hypothesis, and the same ones as pytempo writes them."""

from __future__ import annotations

from dataclasses import replace

import pytempo
from hypothesis import strategies as st
from pytempo.keychain import KeychainSignature

from coinslot.chains.evm.signature import PrivateKey
from coinslot.methods.tempo.transaction.fields import AccessEntry, Call, TempoTransaction

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
U64 = 2**64 - 1
U128 = 2**128 - 1
U256 = 2**256 - 1


def uints(most: int) -> st.SearchStrategy[int]:
    """Numbers with the edges likely."""
    return st.sampled_from([0, 1, 127, 128, 255, 256, most]).filter(lambda n: n <= most) | st.integers(0, most)


addresses = st.binary(min_size=20, max_size=20).filter(any).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32)
keys = st.integers(1, N - 1).map(lambda number: PrivateKey(number.to_bytes(32, "big")))
calls = st.builds(Call, addresses, uints(U256), st.binary(max_size=100))
access_entries = st.builds(AccessEntry, addresses, st.lists(words, max_size=2).map(tuple))


@st.composite
def transactions(draw: st.DrawFn) -> TempoTransaction:
    """Any unsigned transaction that a chain could take, without a sponsor or a key authorization."""
    fees = sorted((draw(uints(U128)), draw(uints(U128))))
    after, before = sorted(draw(st.lists(st.integers(1, U64), min_size=2, max_size=2, unique=True)))
    return TempoTransaction(
        chain_id=draw(uints(U64).filter(bool)),
        calls=tuple(draw(st.lists(calls, min_size=1, max_size=3))),
        gas_limit=draw(uints(U64).filter(bool)),
        max_fee_per_gas=fees[1],
        max_priority_fee_per_gas=fees[0] if fees[1] else 0,
        access_list=tuple(draw(st.lists(access_entries, max_size=2))),
        nonce_key=draw(uints(U256)),
        nonce=draw(uints(U64)),
        valid_before=draw(st.none() | st.just(before)),
        valid_after=draw(st.none() | st.just(after)),
        fee_token=draw(st.none() | addresses),
    )


def as_pytempo(tx: TempoTransaction, sender: str | None = None) -> pytempo.TempoTransaction:
    """The same transaction for pytempo, whose signatures it carries over."""
    signature = tx.sender_signature
    sender_signature = None
    if len(signature) == 65:
        sender_signature = pytempo.Signature.from_bytes(signature)
    elif signature:
        sender_signature = KeychainSignature.from_bytes(signature)
    fee_payer_signature = None
    if tx.sponsored and not tx.awaiting_fee_payer:
        fee_payer_signature = pytempo.Signature.from_bytes(tx.fee_payer_signature or b"")
    return pytempo.TempoTransaction(
        chain_id=tx.chain_id,
        max_priority_fee_per_gas=tx.max_priority_fee_per_gas,
        max_fee_per_gas=tx.max_fee_per_gas,
        gas_limit=tx.gas_limit,
        calls=tuple(pytempo.Call.create(call.to, call.value, call.data) for call in tx.calls),
        access_list=tuple(pytempo.AccessListItem.create(each.address, each.storage_keys) for each in tx.access_list),
        nonce_key=tx.nonce_key,
        nonce=tx.nonce,
        valid_before=tx.valid_before,
        valid_after=tx.valid_after,
        fee_token=tx.fee_token,
        sender_address=sender,
        awaiting_fee_payer=tx.awaiting_fee_payer,
        fee_payer_signature=fee_payer_signature,
        sender_signature=sender_signature,
        key_authorization=(
            None if tx.key_authorization is None else pytempo.SignedKeyAuthorization.decode(tx.key_authorization)
        ),
    )


def unsponsored(tx: TempoTransaction) -> TempoTransaction:
    """The transaction without signatures and sponsor."""
    return replace(tx, sender_signature=b"", fee_payer_signature=None)
