"""Transactions: read strictly and wholly, built, signed in part and co-signed."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from coinslot.chains.solana import budget, memo, system
from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.instruction import AccountMeta, Instruction
from coinslot.chains.solana.message import (
    MAX_BYTES,
    NO_SIGNATURE,
    Transaction,
    Version,
    build_message,
    read_transaction,
    sign_partially,
    verify_signatures,
    with_signature,
)
from coinslot.chains.solana.signature import Key
from coinslot.errors import BadSignature, BadTransaction, UsageError

PAYER, SENDER, OTHER = (Key(sha256(name).digest()) for name in (b"payer", b"sender", b"other"))
BLOCKHASH = address_text(sha256(b"block").digest())
INSTRUCTIONS = (
    budget.build_unit_limit(50_000),
    system.build_transfer(SENDER.address, OTHER.address, 7),
    memo.build_memo(memo.Memo("thanks", (SENDER.address,))),
)


def example(version: Version = 0) -> bytes:
    """A sponsored transaction that its fee payer hasn't signed."""
    return sign_partially(build_message(PAYER.address, INSTRUCTIONS, BLOCKHASH, version), [SENDER])


def with_lookups() -> bytes:
    """A v0 transaction that takes accounts 5 (written) and 9 (read) from a table."""
    keys = (PAYER.address, SENDER.address, OTHER.address)
    message = (
        bytes((0x80, 1, 0, 1, 3)) + b"".join(address_bytes(key) for key in keys) + address_bytes(BLOCKHASH)
        + bytes((1, 2, 3, 1, 3, 4, 0))
        + bytes((1,)) + address_bytes(SENDER.address) + bytes((1, 5, 1, 9))
    )  # fmt: skip
    return sign_partially(message, [PAYER])


EXAMPLES = (example(0), example("legacy"), with_signature(example(), PAYER), with_lookups())


@pytest.mark.parametrize("version", ["legacy", 0])
def test_a_transaction_is_read_as_it_was_built(version: Version) -> None:
    """Roles, signers, instructions, blockhash; nothing is lost on the way."""
    transaction = read_transaction(example(version))
    assert transaction.version == version
    assert transaction.signers == (PAYER.address, SENDER.address)
    assert transaction.payer == PAYER.address
    assert transaction.unsigned == (PAYER.address,)
    assert transaction.blockhash == BLOCKHASH
    assert transaction.lookups == ()
    assert [each.program for each in transaction.instructions] == [each.program for each in INSTRUCTIONS]
    assert budget.read_unit_limit(transaction.instructions[0]) == 50_000
    transfer = system.read_transfer(transaction.instructions[1])
    assert transfer == system.SystemTransfer(SENDER.address, OTHER.address, 7)
    assert memo.read_memo(transaction.instructions[2]) == memo.Memo("thanks", (SENDER.address,))


def oracle(raw: bytes) -> Transaction | None:
    """Read `raw`; what is taken, solders reads as the same and spells as the same bytes."""
    try:
        transaction = read_transaction(raw)
    except BadTransaction:
        return None
    native = VersionedTransaction.from_bytes(raw)
    native.sanitize()
    assert bytes(native) == raw
    assert to_bytes_versioned(native.message) == transaction.message
    assert [str(key) for key in native.message.account_keys] == [each.address for each in transaction.accounts]
    for place, account in enumerate(transaction.accounts):
        assert native.message.is_signer(place) == account.signer
    places = [instruction.program_id_index for instruction in native.message.instructions]
    found = [transaction.accounts[place].address for place in places]
    assert found == [instruction.program for instruction in transaction.instructions]
    return transaction


@pytest.mark.parametrize("raw", EXAMPLES)
def test_what_is_read_is_what_the_chains_library_reads(raw: bytes) -> None:
    """Byte for byte, account for account."""
    assert oracle(raw) is not None


@given(st.sampled_from(EXAMPLES), st.data())
def test_changed_transactions_are_refused_by_name_or_read_as_the_chain_reads_them(
    raw: bytes, data: st.DataObject
) -> None:
    """Flipped, cut, stretched: nothing but BadTransaction comes out, and nothing is read in another way."""
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        kind = data.draw(st.sampled_from(("set", "insert", "delete", "cut", "repeat")))
        if kind == "set":
            changed[at : at + 1] = bytes((data.draw(st.integers(0, 255)),))
        elif kind == "insert":
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del changed[at : at + data.draw(st.integers(1, 40))]
        elif kind == "cut":
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + data.draw(st.integers(1, 64))]
    oracle(bytes(changed))


@given(st.binary(max_size=400))
def test_junk_is_refused_by_name(raw: bytes) -> None:
    """No bytes from outside raise anything else."""
    oracle(raw)


def test_every_prefix_of_a_transaction_is_refused() -> None:
    """And so is every byte behind it."""
    for raw in EXAMPLES:
        for end in range(len(raw)):
            with pytest.raises(BadTransaction):
                read_transaction(raw[:end])
        with pytest.raises(BadTransaction, match="follow"):
            read_transaction(raw + b"\x00")


def altered(**changes: bytes) -> bytes:
    """The v0 example in parts, with some of them changed."""
    raw = example()
    parts = {
        "count": raw[:1], "signatures": raw[1:129], "version": raw[129:130], "header": raw[130:133],
        "keys": raw[133:134], "rest": raw[134:],
    }  # fmt: skip
    return b"".join((parts | changes).values())


@pytest.mark.guard("T31")
@pytest.mark.parametrize(
    "changes",
    [
        {"count": b"\x82\x00"},
        {"count": b"\x82\x80\x00"},
        {"count": b"\x01", "signatures": bytes(64)},
        {"count": b"\x03", "signatures": bytes(192)},
        {"version": b"\x81"},
        {"version": b"\xff"},
        {"header": b"\x00\x00\x00", "count": b"\x00", "signatures": b""},
        {"header": b"\x02\x02\x03"},
        {"header": b"\x02\x00\x7f"},
    ],
)
def test_other_spellings_and_headers_that_do_not_fit_are_refused(changes: dict[str, bytes]) -> None:
    """Long counts, too few or too many signatures, versions to come, roles for more accounts than there are."""
    assert altered() == example()
    with pytest.raises(BadTransaction):
        read_transaction(altered(**changes))


@pytest.mark.guard("T31")
def test_an_account_that_stands_twice_is_refused() -> None:
    """Its second place could have a role that the first hides."""
    raw = example()
    twice = raw.replace(address_bytes(OTHER.address), address_bytes(SENDER.address))
    assert twice != raw
    with pytest.raises(BadTransaction, match="twice"):
        read_transaction(twice)


@pytest.mark.parametrize(("place", "value"), [(0, 0), (0, 3), (0, 9), (2, 5), (3, 255)])
def test_indexes_out_of_range_are_refused(place: int, value: int) -> None:
    """A program that is the payer, is none, or comes from a table; an account that isn't there."""
    raw = bytearray(with_lookups())
    start = raw.index(bytes((2, 3, 1, 3, 4, 0)))
    raw[start + place] = value
    with pytest.raises(BadTransaction):
        read_transaction(bytes(raw))


def test_accounts_of_a_table_are_flagged_and_equal_no_address() -> None:
    """Written ones first, as the runtime has them."""
    transaction = read_transaction(with_lookups())
    table = SENDER.address
    assert [(each.table, each.writable, each.readonly) for each in transaction.lookups] == [(table, b"\x05", b"\x09")]
    assert transaction.instructions[0].accounts == (
        AccountMeta(SENDER.address, writable=True),
        AccountMeta(f"{table}[5]", writable=True),
        AccountMeta(f"{table}[9]"),
    )


def test_more_than_a_packet_is_refused_both_ways() -> None:
    """1232 bytes and not one more."""
    room = MAX_BYTES - len(with_memo(0)) - 2  # counts of two bytes
    raw = with_memo(room)
    assert len(raw) <= MAX_BYTES
    read_transaction(raw)
    with pytest.raises(UsageError, match="fit"):
        with_memo(room + 3)
    with pytest.raises(BadTransaction, match="more than"):
        read_transaction(bytes(MAX_BYTES + 1))


def with_memo(size: int) -> bytes:
    """A transaction with an instruction of so many bytes."""
    instruction = Instruction(OTHER.address, (), bytes(size))
    return sign_partially(build_message(PAYER.address, [instruction], BLOCKHASH), [PAYER])


def test_a_co_signature_fills_its_own_slot_and_touches_nothing_else() -> None:
    """The message and the other signature are the very same bytes."""
    before = read_transaction(example())
    raw = with_signature(example(), PAYER)
    after = read_transaction(raw)
    assert after.message == before.message
    assert after.signatures[1] == before.signatures[1]
    assert after.unsigned == ()
    verify_signatures(after)
    assert str(VersionedTransaction.from_bytes(raw).signatures[0]) == after.signature
    assert VersionedTransaction.from_bytes(raw).verify_with_results() == [True, True]


def test_a_key_that_need_not_sign_is_refused() -> None:
    """A signature of ours must not end up where nobody asked for it."""
    with pytest.raises(UsageError, match="no signer"):
        with_signature(example(), OTHER)
    with pytest.raises(UsageError, match="no signer"):
        sign_partially(build_message(PAYER.address, INSTRUCTIONS, BLOCKHASH), [OTHER])


@pytest.mark.guard("T13")
def test_signatures_are_over_this_message_or_not_there_yet() -> None:
    """A missing one, a foreign one, and one where none may be yet."""
    transaction = read_transaction(example())
    verify_signatures(transaction, unsigned=[PAYER.address])
    with pytest.raises(BadSignature):
        verify_signatures(transaction)
    with pytest.raises(BadSignature, match="none may be"):
        verify_signatures(read_transaction(with_signature(example(), PAYER)), unsigned=[PAYER.address])
    raw = example()
    foreign = raw[:65] + OTHER.sign(transaction.message) + raw[129:]
    with pytest.raises(BadSignature):
        verify_signatures(read_transaction(foreign), unsigned=[PAYER.address])


def test_a_transaction_has_no_name_before_its_payer_signs() -> None:
    """The zero signature is nobody's."""
    transaction = read_transaction(example())
    assert transaction.signatures[0] == NO_SIGNATURE
    with pytest.raises(BadSignature, match="fee payer"):
        _ = transaction.signature
