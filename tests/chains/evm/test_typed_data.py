"""EIP-712 digests and ABI words equal those of the general encoders."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as abi_encode
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm import abi
from coinslot.chains.evm.eip712 import domain_separator, encode_string, struct_hash, type_hash, typed_digest
from coinslot.errors import BadTransaction, UsageError

uints = st.integers(0, 2**256 - 1)
bytes32 = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
texts = st.text(st.characters(codec="utf-8"), max_size=40)

DOMAIN = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]
MEMBERS = [("who", "address"), ("amount", "uint256"), ("id", "bytes32"), ("note", "string")]


def fields(members: list[tuple[str, str]]) -> list[dict[str, str]]:
    """EIP-712 type members in JSON."""
    return [{"name": name, "type": type_} for name, type_ in members]


@given(
    name=texts, version=texts, chain=st.integers(1, 2**64), contract=st.none() | addresses,
    who=addresses, amount=uints, id_=bytes32, note=texts,
)  # fmt: skip
def test_digests_equal_those_of_eth_account(
    name: str, version: str, chain: int, contract: str | None, who: str, amount: int, id_: bytes, note: str
) -> None:
    """Any domain with and without a contract, and a struct of each type that we use."""
    domain = {"name": name, "version": version, "chainId": chain}
    if contract is not None:
        domain["verifyingContract"] = contract
    types = {"EIP712Domain": fields(DOMAIN[: len(domain)]), "Thing": fields(MEMBERS)}
    message = {"who": who, "amount": amount, "id": id_, "note": note}
    full = {"types": types, "primaryType": "Thing", "domain": domain, "message": message}
    thing = struct_hash(
        type_hash("Thing(address who,uint256 amount,bytes32 id,string note)"),
        abi.encode_address(who), abi.encode_uint256(amount), abi.encode_bytes32(id_), encode_string(note),
    )  # fmt: skip
    ours = typed_digest(domain_separator(name, version, chain, contract), thing)
    assert ours == bytes(_hash_eip191_message(encode_typed_data(full_message=full)))


@given(who=addresses, amount=uints, id_=bytes32)
def test_words_equal_those_of_eth_abi(who: str, amount: int, id_: bytes) -> None:
    """Three static values encode as eth_abi does, and read back."""
    data = abi_encode(["address", "uint256", "bytes32"], [who, amount, id_])
    assert abi.encode_address(who) + abi.encode_uint256(amount) + abi.encode_bytes32(id_) == data
    first, second, third = abi.split_words(data, 3)
    assert (abi.decode_address(first), abi.decode_uint256(second), third) == (who, amount, id_)


def test_selectors_and_topics_are_the_known_ones() -> None:
    """Fixed points of the ABI."""
    assert abi.selector("transfer(address,uint256)").hex() == "a9059cbb"
    assert abi.event_topic("Transfer(address,address,uint256)").hex().startswith("ddf252ad1be2c89b")


@pytest.mark.parametrize("value", [-1, 2**256, True, 1.0, "1", None])
def test_what_is_no_uint256_is_refused(value: int) -> None:
    """Out of range, and other types that Python would take for numbers."""
    with pytest.raises(UsageError, match="uint256"):
        abi.encode_uint256(value)


@pytest.mark.guard("T31")
def test_words_of_wrong_length_or_dirty_addresses_are_refused() -> None:
    """Nothing before, behind or beside the values."""
    with pytest.raises(UsageError):
        abi.encode_bytes32(bytes(31))
    for data in (bytes(31), bytes(33), b""):
        with pytest.raises(BadTransaction):
            abi.split_words(data, 1)
    for word in (b"\x01" + bytes(31), bytes(11) + b"\x01" + bytes(20), bytes(31)):
        with pytest.raises(BadTransaction):
            abi.decode_address(word)
