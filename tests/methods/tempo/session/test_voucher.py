"""Vouchers: digests, signatures, and that nothing is taken here which the chain would refuse."""

from __future__ import annotations

import secrets

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.abi import encode_address, encode_uint256, selector
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import CoinslotError, InvalidVoucher, RpcRefused, SignerMismatch, UsageError
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow
from coinslot.methods.tempo.session.voucher import VoucherScheme
from support.devnet import Chain
from support.tempochannel import BOTH, E1, E2, KEY, OTHER_KEY, PAYEE
from support.tempotx import N

VERIFIER = "0x5165300000000000000000000000000000000000"
V1_ID = "0x01d45f8b31c5dcafddf1b08fa8def9dd0c42462cfcbab685abcf55bc1cdc18bf"
V2_ID = "0x4c7416d0c0aaa4e7794f4447994d78f82980f99debc0d8162ec56c1d08d09614"
AMOUNT = 250_000
# Escrow, id, domain, digest, signature: made once with eth_account, from the key 0x0101...01.
PINNED = {
    "v1": (
        E1, V1_ID,
        "3271aa2ef112b8493e889b17f852ad8e0a0b30565a62f3c066aa9fb0b7444e0c",
        "17b06bc3b6169e802a0be43bfa9aa6754597fb2e8bf5d461992506720a24a6a0",
        ("021e82bcf811054488c53c212d5e54d0dddf69fc6ba610d87ecf53d38ecbb766"
        "0a3710459b0ad8ae14ca6ec40a0e337fa83bb90a5a906b99e22d09b7ad4478031b"),
    ),
    "v2": (
        E2, V2_ID,
        "a3aa475070603a80823360e5a4a0d3b4fe2cd4e82a109ee3c21a4640a199688d",
        "6db0f8eccae95a5904ff7c296b4b0be779b1c29e8a36d141c280f62a7ae3a6b1",
        ("df6c02cc35d28b66e39af9d3b2092a6d4094f61029f75ca5e608eb3c6eb8735b"
        "22031b99dfbc4cb4bdf7e1b9093c1127d5131445ac6a26ae7f53662f59bf387e1b"),
    ),
}  # fmt: skip


@pytest.mark.spec("TSES-088", "TSES-090", "TSES-091", "TSES-092", "TSES-093")
@pytest.mark.parametrize("version", PINNED)
def test_domain_digest_and_signature_are_pinned(version: str) -> None:
    """To the last byte; v is 27 or 28, s is low."""
    place, channel_id, domain, digest, signature = PINNED[version]
    scheme = VoucherScheme(place)
    assert scheme.domain.hex() == domain
    assert scheme.digest(channel_id, AMOUNT).hex() == digest
    assert scheme.sign(KEY, channel_id, AMOUNT).hex() == signature
    scheme.verify(channel_id, AMOUNT, bytes.fromhex(signature), KEY.address)


@given(st.data())
def test_any_voucher_is_signed_as_eth_account_signs_it(data: st.DataObject) -> None:
    """Another implementation of EIP-712, other keys, chains, escrows and amounts."""
    version = data.draw(st.sampled_from([V1, V2]))
    place = Escrow(
        version, data.draw(st.integers(1, 2**53 - 1)), "0x" + data.draw(st.binary(min_size=20, max_size=20)).hex()
    )
    units = data.draw(st.sampled_from([0, 1, version.max_units]) | st.integers(0, version.max_units))
    key = PrivateKey(data.draw(st.integers(1, N - 1)).to_bytes(32, "big"))
    channel_id = "0x" + data.draw(st.binary(min_size=32, max_size=32)).hex()
    theirs = Account.sign_message(typed(place, channel_id, units), key.secret())
    scheme = VoucherScheme(place)
    assert scheme.sign(key, channel_id, units) == theirs.signature
    scheme.verify(channel_id, units, theirs.signature, key.address)


def typed(place: Escrow, channel_id: str, units: int) -> object:
    """The typed data as the document writes it."""
    uint = f"uint{place.version.amount_bits}"
    return encode_typed_data(
        {
            "name": place.version.domain_name,
            "version": "1",
            "chainId": place.chain_id,
            "verifyingContract": place.address,
        },
        {"Voucher": [{"name": "channelId", "type": "bytes32"}, {"name": "cumulativeAmount", "type": uint}]},
        {"channelId": bytes.fromhex(channel_id[2:]), "cumulativeAmount": units},
    )


@pytest.mark.spec("TSES-018")
@pytest.mark.parametrize("place", BOTH)
def test_an_amount_out_of_range_is_never_signed(place: Escrow) -> None:
    """uint96 in v2, uint128 in v1."""
    for units in (-1, place.version.max_units + 1):
        with pytest.raises(UsageError):
            VoucherScheme(place).sign(KEY, V2_ID, units)
        with pytest.raises(InvalidVoucher):
            VoucherScheme(place).verify(V2_ID, units, KEY.sign_digest(bytes(32)), KEY.address)


@pytest.mark.guard("T07")
@pytest.mark.spec("TSES-087", "TSES-107", "TSES-119", "TSES-121")
def test_a_voucher_counts_for_its_own_channel_escrow_and_chain_only() -> None:
    """Any other place, id or amount is not what was signed."""
    signature = VoucherScheme(E2).sign(KEY, V2_ID, AMOUNT)
    VoucherScheme(E2).verify(V2_ID, AMOUNT, signature, KEY.address)
    elsewhere = [Escrow(V2, 4217, E2.address), Escrow(V2, E2.chain_id, PAYEE), Escrow(V1, E2.chain_id, E2.address)]
    for place in elsewhere:
        with pytest.raises(SignerMismatch):
            VoucherScheme(place).verify(V2_ID, AMOUNT, signature, KEY.address)
    for channel_id, units in ((V1_ID, AMOUNT), (V2_ID, AMOUNT + 1)):
        with pytest.raises(SignerMismatch):
            VoucherScheme(E2).verify(channel_id, units, signature, KEY.address)


@pytest.mark.guard("T15")
@pytest.mark.spec("TSES-104", "TSES-106", "TSES-131")
def test_only_the_expected_signer_is_taken() -> None:
    """Not somebody else, and nobody for nobody."""
    scheme = VoucherScheme(E2)
    signature = scheme.sign(OTHER_KEY, V2_ID, AMOUNT)
    with pytest.raises(SignerMismatch, match="somebody else"):
        scheme.verify(V2_ID, AMOUNT, signature, KEY.address)
    with pytest.raises(SignerMismatch, match="no signer"):
        scheme.verify(V2_ID, AMOUNT, signature, ZERO_ADDRESS)


def variants(digest: bytes, key: PrivateKey) -> dict[str, bytes]:
    """One signature in every spelling that somebody might take."""
    good = key.sign_digest(digest)
    r, s, v = good[:32], good[32:64], good[64]
    high = (N - int.from_bytes(s, "big")).to_bytes(32, "big")
    compact = r + bytes([s[0] | (v - 27) << 7]) + s[1:]
    account = bytes.fromhex(key.address[2:])
    return {
        "low s": good,
        "high s": r + high + bytes([55 - v]),
        "high s, v as it was": r + high + bytes([v]),
        "EIP-2098": compact,
        "v 0 or 1": good[:64] + bytes([v - 27]),
        "v 29 or 30": good[:64] + bytes([v + 2]),
        "v of EIP-155": good[:64] + bytes([(v - 27) + 35]),
        "64 bytes": good[:64],
        "66 bytes": good + b"\x00",
        "66 bytes, type first": b"\x00" + good,
        "magic suffix": good + b"\x77" * 32,
        "keychain 3": b"\x03" + account + good,
        "keychain 4": b"\x04" + account + good,
        "P-256": b"\x01" + bytes(129),
        "WebAuthn": b"\x02" + bytes(200),
        "multisig": b"\x05" + bytes(90),
        "empty": b"",
        "zeros": bytes(65),
        "r zero": bytes(32) + s + bytes([v]),
        "s zero": r + bytes(32) + bytes([v]),
        "r of the order": N.to_bytes(32, "big") + s + bytes([v]),
        "another's": OTHER_KEY.sign_digest(digest),
    }


VARIANTS = list(variants(bytes(range(32)), KEY))
# Taken by the chain and not here: second spellings of the same signature.
ONLY_THERE = {"v 0 or 1", "v of EIP-155"}


@pytest.mark.devnet
@pytest.mark.guard("T13", "T14", "T18")
@pytest.mark.spec("TSES-105", "TSES-120", "TSES-206", "TSES-207", "TSES-208", "TSES-209")
@pytest.mark.parametrize("name", VARIANTS)
def test_whatever_is_taken_here_is_taken_by_the_chain(devnet: Chain, name: str) -> None:
    """The chain's own verifier (TIP-1020) is asked about every variant; one good form is taken by both."""
    scheme = VoucherScheme(E2)
    key = PrivateKey(secrets.token_bytes(32))
    digest = scheme.digest(V2_ID, AMOUNT)
    signature = variants(digest, key)[name]
    here = taken(scheme, signature, key.address)
    there = verified(devnet, digest, signature) == key.address
    assert here == (name == "low s")
    assert there == (here or name in ONLY_THERE)


def taken(scheme: VoucherScheme, signature: bytes, signer: str) -> bool:
    """Whether we take a signature."""
    try:
        scheme.verify(V2_ID, AMOUNT, signature, signer)
    except CoinslotError:
        return False
    return True


def verified(chain: Chain, digest: bytes, signature: bytes) -> str | None:
    """The signer whom the chain's verifier finds, or None."""
    data = selector("recover(bytes32,bytes)") + digest + encode_uint256(64) + encode_uint256(len(signature))
    data += signature + bytes(-len(signature) % 32)
    try:
        answer = chain.rpc("eth_call", {"to": VERIFIER, "data": "0x" + data.hex()}, "latest")
    except RpcRefused:
        return None
    return "0x" + str(answer)[-40:]


@pytest.mark.guard("T13", "T14", "T18")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("high s", "lower half"),
        ("EIP-2098", "EIP-2098"),
        ("v 0 or 1", "27 or 28"),
        ("66 bytes", "65 bytes"),
        ("magic suffix", "65 bytes"),
        ("keychain 3", "unsupported signature type: access key, version 1"),
        ("keychain 4", "unsupported signature type: access key;"),
        ("P-256", "unsupported signature type: P-256"),
        ("WebAuthn", "unsupported signature type: WebAuthn"),
        ("multisig", "unsupported signature type: multisig"),
        ("empty", "65 bytes"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(name: str, reason: str) -> None:
    """So that a client learns what to do instead."""
    scheme = VoucherScheme(E2)
    signature = variants(scheme.digest(V2_ID, AMOUNT), KEY)[name]
    if name in {"66 bytes", "magic suffix"}:
        signature = b"\x1f" + signature[1:]  # the first byte of r must not look like a type
    with pytest.raises(InvalidVoucher, match=reason):
        scheme.verify(V2_ID, AMOUNT, signature, KEY.address)


def test_the_verifier_of_the_chain_is_the_one_that_answers(devnet: Chain) -> None:
    """It names the signer by `verify` too, so that `recover` above is not read wrongly."""
    digest = VoucherScheme(E2).digest(V2_ID, AMOUNT)
    signature = KEY.sign_digest(digest)
    for address, expected in ((KEY.address, 1), (OTHER_KEY.address, 0)):
        data = selector("verify(address,bytes32,bytes)") + encode_address(address) + digest + encode_uint256(96)
        data += encode_uint256(65) + signature + bytes(31)
        answer = devnet.rpc("eth_call", {"to": VERIFIER, "data": "0x" + data.hex()}, "latest")
        assert int(str(answer), 16) == expected
