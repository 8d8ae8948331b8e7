"""Our Solana session bytes against solana-pay-kit's: channels, vouchers, proofs, splits and all ten instructions."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.programs import INSTRUCTIONS_SYSVAR, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.methods.solana.session import program as calls
from coinslot.methods.solana.session.bearer import bearer_message
from coinslot.methods.solana.session.channel import (
    Seeds,
    Status,
    derive_channel,
    derive_with_bump,
    escrow_account,
    event_authority,
    read_channel_account,
)
from coinslot.methods.solana.session.distribution import MAX_RECIPIENTS, TOTAL_BPS, Split, distribution_hash
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.voucher import (
    build_voucher_instruction,
    read_signed_voucher,
    sign_voucher,
    voucher_message,
)
from support.peers import HERE, Peer, paykit_home

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop")]

SOAKING = os.environ.get("COINSLOT_SOAK") == "1"
ROUNDS = 100_000 if SOAKING else 1_000
BATCH = 250
CHANCE = random.Random() if SOAKING else random.Random(1034)
U64_MAX, I64_MAX = 2**64 - 1, 2**63 - 1


@pytest.fixture(scope="module")
def oracle() -> Iterator[Peer]:
    """solana-pay-kit's bytes (tests/interop/paykit/oracle.py)."""
    place = paykit_home()
    peer = Peer([str(place / "bin" / "python"), str(HERE / "paykit" / "oracle.py")], place)
    yield peer
    peer.stop()


def batches() -> Iterator[range]:
    """Orders in parts."""
    for start in range(0, ROUNDS, BATCH):
        yield range(min(BATCH, ROUNDS - start))


def address() -> str:
    """A random address: any 32 bytes."""
    return address_text(CHANCE.randbytes(32))


def key() -> Key:
    """A random key."""
    return Key(CHANCE.randbytes(32))


def number(most: int, least: int = 0) -> int:
    """A number, edges likely."""
    return CHANCE.choice([least, most, CHANCE.randint(least, most), CHANCE.randint(least, min(most, 10**9))])


def place() -> str:
    """The known channel program, or any other."""
    return CHANCE.choice([CHANNEL_PROGRAM, address()])


def token_program() -> str:
    """Either."""
    return CHANCE.choice([TOKEN_PROGRAM, TOKEN_2022_PROGRAM])


def splits() -> tuple[Split, ...]:
    """None, a few, or as many as there may be; their shares often all there is."""
    count = CHANCE.choice([0, 0, 1, 2, 3, MAX_RECIPIENTS])
    rest, made = TOTAL_BPS, []
    for left in range(count, 0, -1):
        share = CHANCE.choice([1, rest - left + 1, CHANCE.randint(1, rest - left + 1)])
        made.append(Split(address(), share))
        rest -= share
    return tuple(made)


def seeds() -> Seeds:
    """A channel's terms; the signer is a key, as the program demands."""
    return Seeds(address(), address(), address(), key().address, number(U64_MAX), number(U64_MAX))


def members(of: Seeds) -> dict[str, Any]:
    """As the peer is told."""
    return {
        "payer": of.payer,
        "payee": of.payee,
        "mint": of.mint,
        "authorizedSigner": of.authorized_signer,
        "salt": of.salt,
        "openSlot": of.open_slot,
    }


def told(instruction: Instruction) -> dict[str, Any]:
    """As the peer tells an instruction."""
    accounts = [[each.address, each.signer, each.writable] for each in instruction.accounts]
    return {"program": instruction.program, "accounts": accounts, "data": instruction.data.hex()}


def shares(of: tuple[Split, ...]) -> list[tuple[str, int]]:
    """As the peer is told splits."""
    return [(split.recipient, split.share_bps) for split in of]


@pytest.mark.spec("SSES-005", "SSES-006")
def test_channel_addresses_are_equal(oracle: Peer) -> None:
    """Any terms and any program; the bump too, and the program's event authority."""
    for each in batches():
        ours = [(place(), seeds()) for _ in each]
        orders = [members(of) | {"program": program} for program, of in ours]
        assert oracle.batch("channel", orders) == [list(derive_with_bump(program, of)) for program, of in ours]
        programs = [{"program": program} for program, _ in ours]
        assert oracle.batch("eventAuthority", programs) == [event_authority(program) for program, _ in ours]


def test_token_accounts_are_equal(oracle: Peer) -> None:
    """Of any owner, on either token program."""
    for each in batches():
        ours = [(address(), address(), token_program()) for _ in each]
        orders = [{"owner": owner, "mint": mint, "tokenProgram": program} for owner, mint, program in ours]
        assert oracle.batch("associated", orders) == [derive_ata(*one) for one in ours]


def test_vouchers_are_equal_byte_for_byte(oracle: Peer) -> None:
    """50 bytes whatever the amount and the expiry; the precompile's 162 bytes around them."""
    for each in batches():
        ours = [(key(), address(), number(U64_MAX), number(I64_MAX, -I64_MAX - 1)) for _ in each]
        orders = [{"channel": channel, "cumulative": units, "expiresAt": at} for _, channel, units, at in ours]
        messages = [voucher_message(channel, units, at) for _, channel, units, at in ours]
        assert {len(message) for message in messages} == {50}
        assert oracle.batch("voucher", orders) == [message.hex() for message in messages]
        signed = [sign_voucher(*one) for one in ours]
        orders = [
            {"signer": one.signer, "signature": one.signature.hex(), "message": one.message.hex()} for one in signed
        ]
        built = [build_voucher_instruction(one) for one in signed]
        assert {len(one.data) for one in built} == {162}
        assert oracle.batch("ed25519", orders) == [told(one) for one in built]


def test_each_side_takes_the_others_vouchers(oracle: Peer) -> None:
    """As JSON; with another amount, or of another signer, neither does."""
    for each in batches():
        signed = [sign_voucher(key(), address(), number(U64_MAX), number(I64_MAX)) for _ in each]
        orders: list[dict[str, Any]] = [{"voucher": one.members(), "signer": one.signer} for one in signed]
        assert oracle.batch("checkVoucher", orders) == [None] * len(signed)
        assert [read_signed_voucher(order["voucher"]) for order in orders] == signed
        for order in orders:
            order["voucher"]["voucher"]["cumulativeAmount"] = "7"
        assert None not in oracle.batch("checkVoucher", orders)


def test_bearer_proofs_sign_the_same_bytes(oracle: Peer) -> None:
    """Whatever characters stand in the challenge's id."""
    letters = 'abcXYZ019_-"\\\n\u00e9\u20ac\U0001f600/<'
    for each in batches():
        ours = [(address(), address(), "".join(CHANCE.choices(letters, k=CHANCE.randint(1, 40)))) for _ in each]
        orders = [{"channel": channel, "payer": payer, "challengeId": challenge} for channel, payer, challenge in ours]
        assert oracle.batch("bearer", orders) == [bearer_message(*one).hex() for one in ours]


def test_hashes_of_splits_are_equal(oracle: Peer) -> None:
    """None, one, thirty-two."""
    for each in batches():
        ours = [splits() for _ in each]
        orders = [{"splits": shares(one)} for one in ours]
        assert oracle.batch("splitsHash", orders) == [distribution_hash(one).hex() for one in ours]


def test_openings_are_equal_to_the_last_account(oracle: Peer) -> None:
    """Data, order, roles; what the peer builds, we read as what it was told."""
    for each in batches():
        ours = [
            (
                place(),
                calls.Open(seeds(), token_program(), address(), number(U64_MAX, 1), number(2**32 - 1, 1), splits()),
            )
            for _ in each
        ]
        orders = [
            members(call.seeds)
            | {
                "program": program,
                "rentPayer": call.rent_payer,
                "tokenProgram": call.token_program,
                "deposit": call.deposit_units,
                "grace": call.grace_s,
                "splits": shares(call.splits),
            }
            for program, call in ours
        ]
        built = [calls.build_open(program, call) for program, call in ours]
        assert oracle.batch("open", orders) == [told(one) for one in built]
        read = [calls.read_open(program, one) for (program, _), one in zip(ours, built, strict=True)]
        assert read == [call for _, call in ours]


def test_top_ups_are_equal_to_the_last_account(oracle: Peer) -> None:
    """The program's id is the channel's own in a top-up, too."""
    for each in batches():
        ours = [
            (place(), calls.TopUp(address(), address(), address(), token_program(), number(U64_MAX, 1))) for _ in each
        ]
        orders = [
            {
                "program": program,
                "channel": call.channel,
                "payer": call.payer,
                "mint": call.mint,
                "tokenProgram": call.token_program,
                "amount": call.amount_units,
            }
            for program, call in ours
        ]
        built = [calls.build_top_up(program, call) for program, call in ours]
        assert oracle.batch("topUp", orders) == [told(one) for one in built]
        read = [calls.read_top_up(program, one) for (program, _), one in zip(ours, built, strict=True)]
        assert read == [call for _, call in ours]


def test_ends_by_the_payee_are_equal_with_and_without_a_voucher(oracle: Peer) -> None:
    """The voucher's instruction stands right before."""
    for each in batches():
        orders, built = [], []
        for _ in each:
            program, channel, payee = place(), address(), address()
            signed = sign_voucher(key(), channel, number(U64_MAX), number(I64_MAX))
            with_voucher = CHANCE.random() < 0.5
            end = calls.build_settle_and_seal(program, calls.SettleAndSeal(channel, payee, with_voucher))
            built.append([told(build_voucher_instruction(signed))] * with_voucher + [told(end)])
            orders.append(
                {
                    "program": program,
                    "channel": channel,
                    "payee": payee,
                    "authorizedSigner": signed.signer,
                    "signature": signed.signature.hex() if with_voucher else None,
                    "cumulative": signed.cumulative_units,
                    "expiresAt": signed.expires_at,
                }
            )
        assert oracle.batch("settleAndSeal", orders) == built


def account_of(of: Seeds, shared: tuple[Split, ...], bump: int) -> bytes:
    """A channel's account as the program keeps it."""
    watermark, settled, deposit = sorted(number(U64_MAX) for _ in range(3))
    numbers = (of.salt, deposit, settled, watermark, number(I64_MAX), number(I64_MAX), number(2**32 - 1))
    return (
        bytes((1, 1, bump, CHANCE.choice(list(Status)))) + struct.pack("<QQQQqqI", *numbers)
        + distribution_hash(shared)
        + b"".join(address_bytes(each) for each in (of.payer, of.payee, of.authorized_signer, of.mint, address()))
        + struct.pack("<Q", of.open_slot)
    )  # fmt: skip


def test_accounts_and_distributions_of_channels_are_equal(oracle: Peer) -> None:
    """Read from 256 bytes, paid out to the last recipient's account."""
    for each in batches():
        ours = []
        for _ in each:
            program, of, shared = place(), seeds(), splits()
            channel, bump = derive_with_bump(program, of)
            ours.append((program, channel, shared, account_of(of, shared, bump), token_program(), address()))
        found = oracle.batch("account", [{"data": data.hex()} for _, _, _, data, _, _ in ours])
        orders, built = [], []
        for (program, channel, shared, data, tokens, treasury), theirs in zip(ours, found, strict=True):
            state = read_channel_account(data)
            assert derive_channel(program, state.seeds) == channel
            assert theirs == {
                "version": 1,
                "bump": state.bump,
                "status": state.status,
                "salt": state.seeds.salt,
                "deposit": state.deposit_units,
                "settlement": {"settled": state.settled_units, "payoutWatermark": state.payout_watermark_units},
                "closureStartedAt": state.closure_started_at,
                "payerWithdrawnAt": state.payer_withdrawn_at,
                "gracePeriod": state.grace_s,
                "distributionHash": list(state.distribution_hash),
                "payer": state.seeds.payer,
                "payee": state.seeds.payee,
                "authorizedSigner": state.seeds.authorized_signer,
                "mint": state.seeds.mint,
                "rentPayer": state.rent_payer,
                "openSlot": state.seeds.open_slot,
            }
            call = calls.distribute_of(channel, state, tokens, treasury, shared)
            made = calls.build_distribute(program, call)
            assert calls.read_distribute(program, made) == call
            built.append(told(made))
            orders.append(
                {
                    "program": program,
                    "channel": channel,
                    "payer": state.seeds.payer,
                    "payee": state.seeds.payee,
                    "mint": state.seeds.mint,
                    "rentPayer": state.rent_payer,
                    "treasury": treasury,
                    "tokenProgram": tokens,
                    "splits": shares(shared),
                }
            )
        assert oracle.batch("distribute", orders) == built


def _settle(program: str) -> tuple[Instruction, str, dict[str, str]]:
    call = calls.Settle(address())
    accounts = {"channel": call.channel, "instructionsSysvar": INSTRUCTIONS_SYSVAR}
    return calls.build_settle(program, call), "settle", accounts


def _request_close(program: str) -> tuple[Instruction, str, dict[str, str]]:
    call = calls.RequestClose(address(), address())
    return calls.build_request_close(program, call), "requestClose", {"payer": call.payer, "channel": call.channel}


def _seal(program: str) -> tuple[Instruction, str, dict[str, str]]:
    call = calls.Seal(address())
    return calls.build_seal(program, call), "seal", {"channel": call.channel}


def _withdraw_payer(program: str) -> tuple[Instruction, str, dict[str, str]]:
    call = calls.WithdrawPayer(address(), address(), address(), token_program())
    accounts = {
        "payer": call.payer,
        "channel": call.channel,
        "channelTokenAccount": escrow_account(call.channel, call.mint, call.token_program),
        "payerTokenAccount": derive_ata(call.payer, call.mint, call.token_program),
        "mint": call.mint,
        "tokenProgram": call.token_program,
    }
    return calls.build_withdraw_payer(program, call), "withdrawPayer", accounts


def _reclaim(program: str) -> tuple[Instruction, str, dict[str, str]]:
    call = calls.Reclaim(address(), address())
    return calls.build_reclaim(program, call), "reclaim", {"channel": call.channel, "rentPayer": call.rent_payer}


def _emit_event(program: str) -> tuple[Instruction, str, dict[str, str]]:
    made = calls.build_emit_event(program, calls.EmitEvent(b""))
    return made, "emitEvent", {"eventAuthority": event_authority(program)}


@pytest.mark.parametrize("build", [_settle, _request_close, _seal, _withdraw_payer, _reclaim, _emit_event])
def test_instructions_without_arguments_are_equal(
    oracle: Peer, build: Callable[[str], tuple[Instruction, str, dict[str, str]]]
) -> None:
    """One byte, and the accounts in their order and roles."""
    for each in batches():
        programs = [place() for _ in each]
        ours = [build(program) for program in programs]
        orders = [
            {"program": program, "file": name, "name": name[0].upper() + name[1:], "accounts": accounts}
            for program, (_, name, accounts) in zip(programs, ours, strict=True)
        ]
        assert oracle.batch("plain", orders) == [told(made) for made, _, _ in ours]
