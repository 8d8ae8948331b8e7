"""A price of zero: a signature by the account itself, for this challenge of this server, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.errors import VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.methods.tempo.proof import proof_digest, verify_proof
from coinslot.methods.tempo.source import read_source, source_of
from support.temposhop import Shop

KEY = PrivateKey(bytes([1] * 32))
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
# The vector that the other SDKs pin: key 0x01 * 32, chain 42431.
VECTOR = Challenge("kM9xPqWvT2nJrHsY4aDfEb", "api.example.com", "tempo", "charge", "e30")
DIGEST = "0x3860a700a55e02ad3c2dc047e92489feceecbdb0a801d948e1d9f0b61ea9bc3f"
SIGNATURE = (
    "0x53f5d64d9f995e841b4212639b2e17e508e96752e10316df3814a16443dcbdb6"
    "26c082190a4c3ecc3148101eb443d15bd83b579380b1be735a9c99f0df36c9fe1b"
)
FIELDS = {
    "1": [("challengeId", "string")],
    "2": [("challengeId", "string"), ("realm", "string")],
    "3": [("account", "address"), ("challengeId", "string"), ("realm", "string")],
}


def test_the_digest_is_the_one_that_other_sdks_pin() -> None:
    """Version 3, digest and signature."""
    assert to_hex(proof_digest("3", 42431, VECTOR, KEY.address)) == DIGEST
    assert to_hex(KEY.sign_digest(bytes.fromhex(DIGEST[2:]))) == SIGNATURE


@pytest.mark.spec("TCHG-039", "TCHG-043")
@pytest.mark.parametrize("version", FIELDS)
def test_each_version_is_what_a_general_encoder_makes_of_it(version: str) -> None:
    """eth_account signs the typed data as the document writes it, and we take it."""
    values = {"account": KEY.address, "challengeId": VECTOR.id, "realm": VECTOR.realm}
    made = Account.sign_typed_data(
        KEY.secret(),
        {"name": "MPP", "version": version, "chainId": 42431},
        {"Proof": [{"name": name, "type": kind} for name, kind in FIELDS[version]]},
        {name: values[name] for name, _ in FIELDS[version]},
    )
    verify_proof(bytes(made.signature), versions=(version,), chain_id=42431, challenge=VECTOR, account=KEY.address)


@pytest.mark.spec("TCHG-039", "TCHG-040", "TCHG-044")
@pytest.mark.guard("T07")
@pytest.mark.parametrize(
    "changed",
    [
        {"challenge": replace(VECTOR, id="kM9xPqWvT2nJrHsY4aDfEc")},
        {"challenge": replace(VECTOR, realm="evil.example.com")},
        {"chain_id": 4217},
        {"account": PrivateKey(bytes([2] * 32)).address},
        {"versions": ("2",)},
        {"versions": ("1",)},
    ],
    ids=str,
)
def test_a_proof_is_good_for_one_challenge_server_chain_and_account(changed: dict[str, Any]) -> None:
    """Any one of them changed, and it shows nothing."""
    asked: dict[str, Any] = {"versions": ("3",), "chain_id": 42431, "challenge": VECTOR, "account": KEY.address}
    verify_proof(bytes.fromhex(SIGNATURE[2:]), **asked)
    with pytest.raises(VerificationFailed, match="not signed by the account"):
        verify_proof(bytes.fromhex(SIGNATURE[2:]), **{**asked, **changed})


@pytest.mark.guard("T13", "T15")
@pytest.mark.parametrize("name", ["high s", "v 0", "compact", "zeros", "long", "access key"])
def test_only_the_one_spelling_of_a_signature_is_taken(shop: Shop, name: str) -> None:
    """What contracts and chains would not take is no proof either."""
    seller = shop.seller()
    challenge = shop.challenge(seller, "0")
    made = KEY.sign_digest(proof_digest("3", 42431, challenge, KEY.address))
    s, v = int.from_bytes(made[32:64], "big"), made[64]
    crafted = {
        "high s": made[:32] + (N - s).to_bytes(32, "big") + bytes((55 - v,)),
        "v 0": made[:64] + bytes((v - 27,)),
        "compact": made[:32] + (s | (v - 27) << 255).to_bytes(32, "big"),
        "zeros": bytes(64) + b"\x1b",
        "long": made + b"\x00",
        "access key": b"\x04" + bytes.fromhex(KEY.address[2:]) + made,
    }[name]
    proof = {"type": "proof", "signature": to_hex(crafted)}
    with pytest.raises(VerificationFailed, match="proof"):
        shop.check(seller, challenge, proof, source_of(42431, KEY.address))
    good = {"type": "proof", "signature": to_hex(made)}
    assert shop.check(seller, challenge, good, source_of(42431, KEY.address)).payer == KEY.address


@pytest.mark.spec("TCHG-042")
@pytest.mark.guard("T07")
def test_a_proof_for_another_chain_is_none_even_where_its_source_says_so(shop: Shop) -> None:
    """The account signed, and for that very chain; the challenge is on this one."""
    seller = shop.seller()
    challenge = shop.challenge(seller, "0")
    made = KEY.sign_digest(proof_digest("3", 4217, challenge, KEY.address))
    verify_proof(made, versions=("3",), chain_id=4217, challenge=challenge, account=KEY.address)
    with pytest.raises(VerificationFailed, match="another chain"):
        shop.check(seller, challenge, {"type": "proof", "signature": to_hex(made)}, source_of(4217, KEY.address))


@pytest.mark.spec("TCHG-036")
@pytest.mark.parametrize("spelt", [None, lambda text: text[2:], lambda text: "0X" + text[2:], lambda text: [text]])
def test_a_proof_s_signature_is_hex_with_its_prefix(shop: Shop, spelt: Callable[[str], object] | None) -> None:
    """Missing, without 0x, or no text: refused, though the signature itself is good."""
    seller = shop.seller()
    challenge = shop.challenge(seller, "0")
    shown = shop.pay(shop.payer(KEY), challenge)
    assert shop.check(seller, challenge, shown.payload, shown.source).payer == KEY.address
    proof: dict[str, Any] = {"type": "proof"}
    if spelt is not None:
        proof["signature"] = spelt(str(shown.payload["signature"]))
    with pytest.raises(VerificationFailed, match="proof"):
        shop.check(seller, challenge, proof, shown.source)


@pytest.mark.spec("TCHG-037", "TCHG-038", "TCHG-041", "TCHG-042")
@pytest.mark.guard("T15")
@pytest.mark.parametrize(
    "source",
    [
        None,
        "",
        "{account}",
        "did:key:z6Mkf",
        "did:pkh:eip155:4217:{account}",
        "did:pkh:eip155:42431",
        "did:pkh:eip155:042431:{account}",
        "did:pkh:eip155:42431:{account}00",
        "did:pkh:eip155:42431:0x" + "11" * 20,
        "did:pkh:solana:42431:{account}",
    ],
)
def test_a_proof_needs_the_source_that_signed(shop: Shop, source: str | None) -> None:
    """Present, of this chain, and the account that the signature recovers to."""
    seller = shop.seller()
    challenge = shop.challenge(seller, "0")
    shown = shop.pay(shop.payer(KEY), challenge)
    given = None if source is None else source.format(account=KEY.address)
    with pytest.raises(VerificationFailed):
        shop.check(seller, challenge, shown.payload, given)
    assert shop.check(seller, challenge, shown.payload, shown.source).payer == KEY.address


@pytest.mark.spec("TCHG-035")
@pytest.mark.guard("T21")
def test_a_proof_pays_no_price_and_a_price_of_zero_takes_nothing_else(shop: Shop) -> None:
    """Each kind of payload for its own kind of charge."""
    seller = shop.seller()
    free, dear = shop.challenge(seller, "0"), shop.challenge(seller)
    proof, payment = shop.pay(shop.payer(KEY), free), shop.pay(shop.payer(), dear)
    for challenge, shown in ((free, payment), (dear, proof)):
        with pytest.raises(VerificationFailed, match="price of zero"):
            shop.check(seller, challenge, shown.payload, shown.source)
    with pytest.raises(VerificationFailed, match="price of zero"):
        shop.check(seller, free, {"type": "hash", "hash": payment.reference}, shown.source)


@pytest.mark.parametrize("version", ["1", "2"])
def test_older_versions_are_an_option(shop: Shop, version: str) -> None:
    """Refused unless the seller lists them; written only if the wallet says so."""
    strict, lenient = shop.seller(), shop.seller(proof_versions=("3", version))
    challenge = shop.challenge(strict, "0")
    shown = shop.pay(shop.payer(KEY, proof_version=version), challenge)
    proof, source = shown.payload, shown.source
    assert proof["signature"] != shop.pay(shop.payer(KEY), challenge).payload["signature"]
    with pytest.raises(VerificationFailed):
        shop.check(strict, challenge, proof, source)
    assert isinstance(
        shop.settle(lenient, shop.prepare(lenient, shop.check(lenient, challenge, proof, source))), Settled
    )


@pytest.mark.guard("T17")
def test_an_account_with_code_is_refused_by_name(shop: Shop) -> None:
    """Contracts decide about signatures themselves; we don't ask them, so we don't guess either."""
    key = shop.account(dollars=0)
    seller = shop.seller()
    challenge = shop.challenge(seller, "0")
    shown = shop.pay(shop.payer(key), challenge)
    shop.chain.rpc("anvil_setCode", key.address, "0x60006000f3")
    with pytest.raises(VerificationFailed, match="ERC-1271"):
        shop.check(seller, challenge, shown.payload, shown.source)


def test_a_source_is_read_in_either_case() -> None:
    """Addresses are compared by value."""
    assert read_source("did:pkh:eip155:42431:0x" + "AB" * 20) == (42431, "0x" + "ab" * 20)
