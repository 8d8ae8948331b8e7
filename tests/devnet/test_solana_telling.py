"""What the local Solana chain tells: of transactions, of trials, and of accounts."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing

import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import (
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.devnet.solana import DEVNET
from coinslot.errors import UsageError
from support.svm import SvmChain
from support.svmpay import BASE64, PYUSD, USDC, encoded, pay_token, paying, refused, send, status

pytestmark = pytest.mark.devnet


LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")


# --- telling of transactions ---------------------------------------------------------------------


def test_a_payment_is_told_in_names_and_amounts(shared_svm: SvmChain) -> None:
    """jsonParsed: instructions of the token, account and memo programs, and token balances before and after."""
    payer, to = shared_svm.keypair(PYUSD=10_000_000), Keypair().pubkey()
    instructions = pay_token(payer, to, 2_500_000, PYUSD, TOKEN_2022_PROGRAM)
    signature = send(shared_svm, shared_svm.transaction(instructions, payer))
    config = {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0, "commitment": "confirmed"}
    told = shared_svm.rpc("getTransaction", signature, config)
    make, move, memo = told["transaction"]["message"]["instructions"]
    account = derive_ata(str(to), PYUSD, TOKEN_2022_PROGRAM)
    assert (make["program"], make["parsed"]["type"]) == ("spl-associated-token-account", "createIdempotent")
    assert make["parsed"]["info"]["wallet"] == str(to)
    assert (move["program"], move["parsed"]["type"]) == ("spl-token-2022", "transferChecked")
    assert move["parsed"]["info"] == {
        "source": derive_ata(str(payer.pubkey()), PYUSD, TOKEN_2022_PROGRAM),
        "mint": PYUSD,
        "destination": account,
        "authority": str(payer.pubkey()),
        "tokenAmount": {"amount": "2500000", "decimals": 6, "uiAmount": 2.5, "uiAmountString": "2.5"},
    }
    assert (memo["program"], memo["parsed"]) == ("spl-memo", "für 1 Brot")
    assert (told["version"], told["meta"]["fee"], told["meta"]["err"]) == (0, 5000, None)
    keys = [each["pubkey"] for each in told["transaction"]["message"]["accountKeys"]]
    after = {keys[each["accountIndex"]]: each for each in told["meta"]["postTokenBalances"]}
    assert (after[account]["owner"], after[account]["mint"], after[account]["programId"]) == (
        str(to),
        PYUSD,
        TOKEN_2022_PROGRAM,
    )
    assert after[account]["uiTokenAmount"]["amount"] == "2500000"
    assert account not in {keys[each["accountIndex"]] for each in told["meta"]["preTokenBalances"]}
    inner = told["meta"]["innerInstructions"]
    assert [each["parsed"]["type"] for each in inner[0]["instructions"]][:2] == ["getAccountDataSize", "createAccount"]
    assert all(each["stackHeight"] == 2 for each in inner[0]["instructions"])
    named = shared_svm.rpc("getSignaturesForAddress", str(to))
    assert [(each["signature"], each["memo"]) for each in named] == [(signature, "[11] für 1 Brot")]


def test_a_legacy_transaction_lands_and_is_told(shared_svm: SvmChain) -> None:
    """In all four encodings, the raw ones byte for byte."""
    payer = shared_svm.keypair()
    to, blockhash = Keypair().pubkey(), Hash.from_string(shared_svm.blockhash())
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=10**7))
    message = Message.new_with_blockhash([move], payer.pubkey(), blockhash)
    raw = bytes(Transaction([payer], message, blockhash))
    signature = send(shared_svm, raw)
    assert shared_svm.rpc("getTransaction", signature, "base64")["transaction"] == [encoded(raw), "base64"]
    told = {
        each: shared_svm.rpc("getTransaction", signature, {"encoding": each, "maxSupportedTransactionVersion": 0})
        for each in ("json", "jsonParsed")
    }
    assert told["json"]["version"] == "legacy"
    assert told["json"]["transaction"]["message"]["header"]["numReadonlyUnsignedAccounts"] == 1
    parsed = told["jsonParsed"]["transaction"]["message"]
    assert parsed["instructions"][0]["parsed"]["info"]["lamports"] == 10**7
    assert [each["writable"] for each in parsed["accountKeys"]] == [True, True, False]
    assert told["json"]["meta"]["preBalances"][1:] == [0, 1]
    assert told["json"]["meta"]["postBalances"][1:] == [10**7, 1]


def test_a_new_version_is_told_only_to_who_allows_for_it(shared_svm: SvmChain) -> None:
    """As nodes do it, so that no client misreads what it can't know."""
    signature = send(shared_svm, paying(shared_svm, shared_svm.keypair()))
    assert refused(shared_svm, "getTransaction", signature, {"encoding": "json"}).code == -32015


def test_lookup_tables_are_resolved(shared_svm: SvmChain) -> None:
    """Their accounts are told behind the message's own, and changed by the transaction."""
    payer, to, table = shared_svm.keypair(), Keypair().pubkey(), Keypair().pubkey()
    head = struct.pack("<IQQBB32sH", 1, 2**64 - 1, 0, 0, 0, bytes(32), 0)
    shared_svm.running.chain.put(table, Account(10**9, head + bytes(to), LOOKUP_TABLES))
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=10**7))
    lookup = AddressLookupTableAccount(table, [to])
    message = MessageV0.try_compile(payer.pubkey(), [move], [lookup], Hash.from_string(shared_svm.blockhash()))
    assert len(message.address_table_lookups) == 1
    signature = send(shared_svm, bytes(VersionedTransaction(message, [payer])))
    told = shared_svm.rpc("getTransaction", signature, {"encoding": "json", "maxSupportedTransactionVersion": 0})
    assert told["meta"]["loadedAddresses"] == {"writable": [str(to)], "readonly": []}
    assert told["meta"]["postBalances"][-1] == 10**7 == shared_svm.balance(str(to), "SOL")
    told = shared_svm.rpc("getTransaction", signature, {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0})
    assert told["transaction"]["message"]["accountKeys"][-1]["source"] == "lookupTable"


def test_transactions_of_an_address_can_be_paged(shared_svm: SvmChain) -> None:
    """Newest first, `before` and `until` left out, at most `limit`."""
    payer, to = shared_svm.keypair(), Keypair().pubkey()
    sent = [send(shared_svm, paying(shared_svm, payer, 10**7 + each, to)) for each in range(4)][::-1]

    def listed(**config: object) -> list[str]:
        return [each["signature"] for each in shared_svm.rpc("getSignaturesForAddress", str(to), config)]

    assert listed() == sent
    assert listed(limit=2) == sent[:2]
    assert listed(before=sent[1]) == sent[2:]
    assert listed(until=sent[2]) == sent[:2]


# --- trying out ----------------------------------------------------------------------------------


def test_a_simulation_moves_nothing_and_tells_accounts(shared_svm: SvmChain) -> None:
    """As they would be, those it doesn't touch too."""
    payer, to = shared_svm.keypair(), Keypair().pubkey()
    raw = encoded(paying(shared_svm, payer, 10**7, to))
    watched = {"encoding": "base64", "addresses": [str(to), USDC, str(Keypair().pubkey())]}
    told = shared_svm.rpc("simulateTransaction", raw, {**BASE64, "sigVerify": True, "accounts": watched})["value"]
    assert told["err"] is None
    assert told["unitsConsumed"] == 150
    assert told["accounts"][0]["lamports"] == 10**7
    assert told["accounts"][1]["owner"] == TOKEN_PROGRAM
    assert told["accounts"][2] is None
    assert shared_svm.balance(str(to), "SOL") == 0


def test_a_simulation_checks_what_it_is_asked_to(svm: SvmChain) -> None:
    """Signatures and blockhash; one can't be verified where the other is replaced."""
    payer = svm.keypair()
    good = VersionedTransaction.from_bytes(paying(svm, payer))
    raw = encoded(bytes(VersionedTransaction.populate(good.message, [Signature.default()])))
    assert svm.rpc("simulateTransaction", raw, BASE64)["value"]["err"] is None
    assert refused(svm, "simulateTransaction", raw, {**BASE64, "sigVerify": True}).code == -32003
    svm.running.expire_blockhashes()
    assert svm.rpc("simulateTransaction", raw, BASE64)["value"]["err"] == "BlockhashNotFound"
    told = svm.rpc("simulateTransaction", raw, {**BASE64, "replaceRecentBlockhash": True})["value"]
    assert told["err"] is None
    assert told["replacementBlockhash"]["blockhash"] == svm.blockhash()
    both = {**BASE64, "replaceRecentBlockhash": True, "sigVerify": True}
    assert refused(svm, "simulateTransaction", raw, both).code == -32602


# --- accounts ------------------------------------------------------------------------------------


def test_accounts_of_a_program_are_filtered(shared_svm: SvmChain) -> None:
    """By size and by bytes at a place, in base58 or base64; with the slot if asked."""
    owner = shared_svm.keypair(USDC=5, USDT=6).pubkey()
    by_owner = {"memcmp": {"offset": 32, "bytes": str(owner)}}
    by_mint = {"memcmp": {"offset": 0, "bytes": encoded(bytes(Pubkey.from_string(USDC))), "encoding": "base64"}}
    config: dict[str, object] = {"encoding": "base64", "filters": [{"dataSize": 165}, by_owner]}
    assert len(shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, config)) == 2
    config = {"encoding": "base64", "filters": [{"dataSize": 165}, by_owner, by_mint], "withContext": True}
    told = shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, config)
    assert [each["pubkey"] for each in told["value"]] == [derive_ata(str(owner), USDC, TOKEN_PROGRAM)]
    assert shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, {"filters": [{"dataSize": 82}, by_owner]}) == []
    by_program = {"programId": TOKEN_PROGRAM}
    told = shared_svm.rpc("getTokenAccountsByOwner", str(owner), by_program, {"encoding": "jsonParsed"})["value"]
    amounts = {each["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] for each in told}
    assert amounts == {"5", "6"}


def test_accounts_are_told_in_the_encoding_asked_for(shared_svm: SvmChain) -> None:
    """Slices too; a long account not in base58."""
    data = {"encoding": "base58", "dataSlice": {"offset": 44, "length": 2}}
    assert shared_svm.rpc("getAccountInfo", USDC, data)["value"]["data"] == ["TW", "base58"]
    account = derive_ata(shared_svm.running.accounts[0].address, USDC, TOKEN_PROGRAM)
    assert refused(shared_svm, "getAccountInfo", account, {"encoding": "base58"}).code == -32600
    assert refused(shared_svm, "getAccountInfo", account, {"encoding": "hex"}).code == -32602
    assert shared_svm.rpc("getMultipleAccounts", [str(Keypair().pubkey()), USDC])["value"][0] is None


def test_cheats_place_accounts(shared_svm: SvmChain) -> None:
    """Under Surfpool's names: lamports, token accounts, their state; and mints under ours."""
    owner = str(Keypair().pubkey())
    shared_svm.rpc("surfnet_setAccount", owner, {"lamports": 77, "data": "0102"})
    told = shared_svm.rpc("getAccountInfo", owner, BASE64)["value"]
    assert (told["lamports"], told["data"][0]) == (77, "AQI=")
    shared_svm.rpc("surfnet_setAccount", owner, {"lamports": 78})
    assert shared_svm.rpc("getAccountInfo", owner, BASE64)["value"]["data"][0] == "AQI="
    shared_svm.rpc("surfnet_setTokenAccount", owner, PYUSD, {"amount": 99, "state": "frozen"}, TOKEN_2022_PROGRAM)
    assert shared_svm.balance(owner, "PYUSD") == 99
    mint = str(Keypair().pubkey())
    shared_svm.rpc("svm_setMint", mint, {"decimals": 2, "programId": TOKEN_2022_PROGRAM})
    shared_svm.fund(owner, 5, mint)
    assert shared_svm.balance(owner, mint) == 5


def test_an_airdrop_gives_sol(shared_svm: SvmChain) -> None:
    """A real transaction, final at once."""
    address = str(Keypair().pubkey())
    signature = shared_svm.rpc("requestAirdrop", address, 10**9)
    assert shared_svm.rpc("getBalance", address, {"commitment": "finalized"})["value"] == 10**9
    assert status(shared_svm, signature)["err"] is None


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("getNothing", [], -32601),
        ("getBalance", [], -32602),
        ("getBalance", ["1"], -32602),
        ("getBalance", [USDC, 5], -32602),
        ("getBalance", [USDC, {"commitment": "soon"}], -32602),
        ("getTransaction", ["1"], -32602),
        ("getTransaction", [str(Signature.default()), {"commitment": "processed"}], -32602),
        ("getMultipleAccounts", [[USDC] * 101], -32602),
        ("getSignatureStatuses", [[str(Signature.default())] * 257], -32602),
        ("getTokenAccountBalance", [USDC], -32602),
        ("getTokenAccountsByOwner", [USDC, {}], -32602),
        ("getProgramAccounts", [USDC, {"filters": [{}]}], -32602),
        ("svm_advanceSlots", [-1], -32602),
        ("svm_fault", ["earthquake"], -32602),
        ("getBlockTime", [2**40], -32004),
    ],
)
def test_bad_questions_get_a_node_s_refusal(shared_svm: SvmChain, method: str, params: list[object], code: int) -> None:
    """With the code that a node gives."""
    assert refused(shared_svm, method, *params).code == code


@pytest.mark.parametrize("settings", [{"port": -1}, {"port": 65536}, {"slot_ms": -1}, {"confirm_ms": 10**6}])
def test_bad_settings_are_refused(settings: dict[str, int]) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError):
        DEVNET.start(**settings)  # type: ignore[arg-type]


def test_what_runs_on_the_chain_leaves_our_arithmetic_alone(svm: SvmChain) -> None:
    """Its compiled code leaves the processor in a state in which SQLite writes "NaN" for a fraction."""
    with closing(sqlite3.connect(":memory:")) as db:
        for _ in range(3):
            svm.keypair(USDC=1)
            assert db.execute("select cast(1.5 as text)").fetchone() == ("1.5",)
