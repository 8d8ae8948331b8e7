"""The local Tempo chain, as anybody uses it: over its RPC door."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import httpx
import pytest
from eth_account import Account as Keys
from pytempo import Call, TempoTransaction

from coinslot.devnet.protocol import devnet_names, find_devnet
from coinslot.devnet.tempo import DEVNET
from coinslot.errors import ConfigError, DevnetError, PortTaken, RpcRefused, UsageError
from support.devnet import Chain

pytestmark = pytest.mark.devnet

# A nonce key of its own kind: valid once, until it expires, in no order.
EXPIRING = 2**256 - 1
PATH_USD = "0x20c0000000000000000000000000000000000000"


def fresh() -> str:
    """An address that nobody used before."""
    return "0x" + secrets.token_hex(20)


def transfer(to: str, units: int, **fields: object) -> TempoTransaction:
    """An unsigned pathUSD transfer, valid for 20 s."""
    data = f"0xa9059cbb{int(to, 16):064x}{units:064x}"
    settings: dict[str, object] = {
        "chain_id": 42431,
        "gas_limit": 1_000_000,
        "max_fee_per_gas": 40_000_000_000,
        "max_priority_fee_per_gas": 1_000_000_000,
        "nonce_key": EXPIRING,
        "valid_before": int(time.time()) + 20,
        "fee_token": PATH_USD,
        "calls": (Call.create(to=PATH_USD, data=data),),
    }
    return TempoTransaction.create(**(settings | fields))


def raw(signed: TempoTransaction) -> str:
    """The bytes to send, in hex."""
    return "0x" + bytes(signed.encode()).hex()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """One kept-alive connection."""
    with httpx.Client() as client:
        yield client


def test_it_is_the_test_networks_chain_with_its_four_tokens(devnet: Chain) -> None:
    """Clients in the field know chain 42431 only, and four tokens answer under their own symbols."""
    assert devnet.rpc("eth_chainId") == hex(42431) == hex(devnet.chain_id)
    assert list(devnet.tokens) == ["PathUSD", "AlphaUSD", "BetaUSD", "ThetaUSD"]
    for symbol, address in devnet.tokens.items():
        answer = str(devnet.rpc("eth_call", {"to": address, "data": "0x95d89b41"}, "latest"))
        assert bytes.fromhex(answer[130:]).rstrip(b"\0").decode() == symbol
        assert devnet.balance_of(address, devnet.accounts[3].address) >= 10**18


def test_the_accounts_keys_belong_to_their_addresses(devnet: Chain) -> None:
    """Ten accounts whose keys are published sign for the addresses they are listed with."""
    assert len(devnet.accounts) == 10
    assert all(Keys.from_key(each.private_key).address == each.address for each in devnet.accounts)
    assert devnet.accounts[0].private_key not in repr(devnet.accounts)


def test_it_starts_past_the_block_whose_time_is_1970(devnet: Chain) -> None:
    """A transaction valid for half a minute from now is valid on the latest block, from the first moment."""
    assert int(str(devnet.rpc("eth_blockNumber")), 16) >= 1
    assert abs(devnet.timestamp() - time.time()) < 5


@pytest.mark.parametrize("token", ["PathUSD", "ThetaUSD"])
def test_funding_gives_exactly_what_was_asked(devnet: Chain, token: str) -> None:
    """An address that had nothing holds the amount afterwards, by a transaction that succeeded."""
    address = fresh()
    receipt = devnet.rpc("eth_getTransactionReceipt", devnet.fund(address, 1_234_567, token))
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"
    assert devnet.balance_of(token, address) == 1_234_567


@pytest.mark.parametrize(
    ("address", "units", "token"),
    [("0x12", 1, None), (PATH_USD, 0, None), (PATH_USD, -1, None), (PATH_USD, 2**128, None), (PATH_USD, 1, "EUR")],
)
def test_bad_funding_is_refused_by_name(devnet: Chain, address: str, units: int, token: str | None) -> None:
    """What is no address, amount or token of this chain is the caller's mistake."""
    with pytest.raises(UsageError):
        devnet.running.fund(address, units, token)


def test_minting_what_is_no_token_is_refused(devnet: Chain) -> None:
    """An address that is no genesis token can't be funded from, and the door says so."""
    with pytest.raises(RpcRefused):
        devnet.fund(fresh(), 1, fresh())


def test_the_faucet_call_gives_a_million_of_each(devnet: Chain) -> None:
    """`tempo_fundAddress` works as on the public test network: four tokens, four hashes."""
    address = fresh()
    hashes = devnet.rpc("tempo_fundAddress", address)
    assert isinstance(hashes, list)
    assert len(set(hashes)) == 4
    assert {devnet.balance_of(token, address) for token in devnet.tokens} == {10**12}
    with pytest.raises(RpcRefused, match="address"):
        devnet.rpc("tempo_fundAddress", "0x12")


@pytest.mark.parametrize("extra", [(), (20000,)])
def test_sync_sending_takes_one_or_two_parameters(devnet: Chain, extra: tuple[int, ...]) -> None:
    """A client that adds a timeout, as a Tempo node allows, gets its receipt as well."""
    to = fresh()
    receipt = devnet.rpc(
        "eth_sendRawTransactionSync", raw(transfer(to, 5).sign(devnet.accounts[4].private_key)), *extra
    )
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"
    assert isinstance(receipt["blockTimestamp"], str)
    assert devnet.balance_of("PathUSD", to) == 5


def sponsored(devnet: Chain, to: str, units: int, **fields: object) -> tuple[str, str]:
    """A transfer by a new account without fees of its own, paid for by account 0: raw bytes and the sender."""
    sender = Keys.create()
    devnet.fund(sender.address, 1000)
    half = transfer(to, units, awaiting_fee_payer=True, fee_token=None, **fields).sign(sender.key.hex())
    return raw(half.sign(devnet.accounts[0].private_key, for_fee_payer=True)), sender.address.lower()


@pytest.mark.parametrize("units", [1000, 1001])
def test_receipts_name_the_true_fee_payer_and_token(devnet: Chain, units: int) -> None:
    """A sponsored transaction's receipt names the sponsor and its token, also when the transfer itself reverted."""
    to, payer = fresh(), devnet.accounts[0].address.lower()
    signed, sender = sponsored(devnet, to, units)
    receipt = devnet.rpc("eth_sendRawTransactionSync", signed)
    assert isinstance(receipt, dict)
    assert (receipt["status"], receipt["from"]) == ("0x1" if units == 1000 else "0x0", sender)
    assert (receipt["feePayer"], receipt["feeToken"]) == (payer, devnet.tokens["AlphaUSD"])
    assert devnet.rpc("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
    assert devnet.rpc("eth_getBlockReceipts", receipt["blockNumber"]) == [receipt]


def test_an_unsponsored_receipt_names_the_sender(devnet: Chain) -> None:
    """Who pays for itself is its own fee payer, in the token that it chose."""
    token = devnet.tokens["ThetaUSD"]
    signed = transfer(fresh(), 1, fee_token=token).sign(devnet.accounts[5].private_key)
    receipt = devnet.rpc("eth_sendRawTransactionSync", raw(signed))
    assert isinstance(receipt, dict)
    assert (receipt["feePayer"], receipt["feeToken"]) == (receipt["from"], token)


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_sendRawTransactionSync"])
def test_a_transaction_that_can_never_run_is_refused_at_once(devnet: Chain, method: str) -> None:
    """The node drops it without a word; the door answers with an error in well under a second."""
    signed = transfer(fresh(), 1, valid_before=int(time.time()) + 600).sign(devnet.accounts[4].private_key)
    took = []
    for _ in range(3):  # the quickest counts: a busy machine may be slow at any one
        began = time.monotonic()
        with pytest.raises(RpcRefused, match="rejected"):
            devnet.rpc(method, raw(signed))
        took.append(time.monotonic() - began)
    assert min(took) < 1


def test_a_transaction_that_waits_for_its_turn_is_not_refused(devnet: Chain) -> None:
    """With a gap in the nonces plain sending returns the hash, and sync sending says after its time that it waits."""
    keys = Keys.create()
    devnet.fund(keys.address, 10**9)
    waiting = transfer(fresh(), 1, nonce_key=0, nonce=1, valid_before=None).sign(keys.key.hex())
    sent = devnet.rpc("eth_sendRawTransaction", raw(waiting))
    assert isinstance(sent, str)
    later = transfer(fresh(), 1, nonce_key=0, nonce=2, valid_before=None).sign(keys.key.hex())
    with pytest.raises(RpcRefused, match="not mined within 100 ms"):
        devnet.rpc("eth_sendRawTransactionSync", raw(later), 100)
    first = transfer(fresh(), 1, nonce_key=0, nonce=0, valid_before=None).sign(keys.key.hex())
    devnet.rpc("eth_sendRawTransactionSync", raw(first))
    devnet.mine()
    receipt = devnet.rpc("eth_getTransactionReceipt", sent)
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"


def simulate(devnet: Chain, *amounts: int, method: str = "tempo_simulateV1") -> tuple[dict[str, object], object]:
    """One transaction of several pathUSD transfers, simulated as clients do it, with the last call on top."""
    *calls, last = [{"to": PATH_USD, "input": f"0xa9059cbb{7:064x}{units:064x}"} for units in amounts]
    request = {"from": devnet.accounts[0].address, "calls": calls, "feeToken": PATH_USD, "type": "0x76", **last}
    answer = devnet.rpc(method, {"blockStateCalls": [{"calls": [request]}]}, "latest")
    blocks = answer["blocks"] if isinstance(answer, dict) else answer
    assert isinstance(blocks, list)
    ((call,),) = [block["calls"] for block in blocks]
    return dict(call), answer


@pytest.mark.parametrize("method", ["tempo_simulateV1", "eth_simulateV1"])
def test_a_batch_is_simulated_as_one_transaction(devnet: Chain, method: str) -> None:
    """It succeeds with the logs of all its calls, and fails if any of them does."""
    good, _ = simulate(devnet, 1, 2, method=method)
    assert good["status"] == "0x1"
    assert isinstance(good["logs"], list)
    assert [int(log["data"], 16) for log in good["logs"]] == [1, 2]
    bad, _ = simulate(devnet, 1, 2**127, 3, method=method)
    assert bad["status"] == "0x0"
    assert "error" in bad


def test_a_tempo_simulation_names_the_tokens_that_moved(devnet: Chain) -> None:
    """The answer is an object of blocks and token names, as a Tempo node gives it."""
    _, answer = simulate(devnet, 1)
    assert isinstance(answer, dict)
    assert set(answer) == {"blocks", "tokenMetadata"}
    assert answer["tokenMetadata"][PATH_USD]["symbol"] == "PathUSD"


@pytest.mark.parametrize("params", [[], [7], [{}], [{"blockStateCalls": [{"calls": [7]}]}]])
def test_bad_simulations_are_refused(devnet: Chain, params: list[object]) -> None:
    """What is no simulation is the caller's mistake."""
    with pytest.raises(RpcRefused):
        devnet.rpc("tempo_simulateV1", *params)


def test_batches_of_requests_are_answered_in_order(devnet: Chain, http: httpx.Client) -> None:
    """Plain and mended methods may stand in one JSON-RPC batch, ids and refusals intact."""
    hash_ = devnet.fund(fresh(), 1)
    batch = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_getTransactionReceipt", "params": [hash_]},
        {"jsonrpc": "2.0", "id": 3, "method": "tempo_fundAddress", "params": []},
    ]
    first, second, third = http.post(devnet.rpc_url, json=batch).json()
    assert (first["id"], first["result"]) == ("a", hex(42431))
    assert (second["id"], second["result"]["feeToken"]) == (2, PATH_USD)
    assert (third["id"], third["error"]["code"]) == (3, -32602)
    assert [each["id"] for each in http.post(devnet.rpc_url, json=batch[:1] * 2).json()] == ["a", "a"]


def test_a_call_takes_no_forty_milliseconds(devnet: Chain, http: httpx.Client) -> None:
    """On a kept-alive connection no call waits for a delayed acknowledgement, also not after the first, quick ones."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    http.post(devnet.rpc_url, json=call)
    took = []
    for _ in range(60):
        began = time.perf_counter()
        http.post(devnet.rpc_url, json=call)
        took.append(time.perf_counter() - began)
    assert min(took[30:]) < 0.02


@pytest.mark.parametrize(
    ("method", "content"), [("GET", b""), ("POST", b"{"), ("POST", b'{"id":1}'), ("POST", b"[]"), ("POST", b"7")]
)
def test_what_is_no_request_gets_an_error_and_the_door_stays_open(
    devnet: Chain, http: httpx.Client, method: str, content: bytes
) -> None:
    """Malformed bodies are answered with an error, and the next request on the same door works."""
    answer = http.request(method, devnet.rpc_url, content=content)
    assert "result" not in answer.text
    assert devnet.rpc("eth_chainId") == hex(42431)


def test_snapshots_bring_back_the_state(devnet: Chain) -> None:
    """What was funded after a snapshot is gone after the revert."""
    address = fresh()
    before = devnet.snapshot()
    devnet.fund(address, 9)
    devnet.revert(before)
    assert devnet.balance_of("PathUSD", address) == 0
    assert devnet.mine(2) >= 2


def test_it_is_found_by_its_name() -> None:
    """Programs know local chains by entry point only."""
    assert "tempo" in devnet_names()
    assert find_devnet("tempo") is DEVNET
    with pytest.raises(ConfigError, match="tempo"):
        find_devnet("nowhere")


def test_a_taken_port_is_a_named_error(devnet: Chain) -> None:
    """Nothing is started where something else listens."""
    with pytest.raises(PortTaken, match="Nothing was started"):
        DEVNET.start(port=int(devnet.rpc_url.rpartition(":")[2]))


@pytest.mark.parametrize(("port", "chain_id", "block_time"), [(-1, 1, 1), (65536, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_bad_settings_are_refused(port: int, chain_id: int, block_time: int) -> None:
    """Numbers that can't be are the caller's mistake, and nothing is started."""
    with pytest.raises(UsageError):
        DEVNET.start(port, chain_id, block_time)


def test_a_kept_state_goes_on_where_it_stopped(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Balances and the block height survive a restart, and two chains never share a folder."""
    folder, address = tmp_path_factory.mktemp("state"), fresh()
    with DEVNET.start(chain_id=31337, state_dir=folder) as first:
        first.fund(address, 77, "BetaUSD")
        height = int(str(first.rpc("eth_blockNumber")), 16)
        with pytest.raises(DevnetError, match="another local chain"):
            DEVNET.start(chain_id=31337, state_dir=folder)
    with DEVNET.start(chain_id=31337, state_dir=folder) as second:
        assert second.balance(address, "BetaUSD") == 77
        assert int(str(second.rpc("eth_blockNumber")), 16) > height
        assert second.rpc("eth_chainId") == hex(31337)
        second.fund(address, 1, "BetaUSD")
        assert second.balance(address, "BetaUSD") == 78
