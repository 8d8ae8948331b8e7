"""What this anvil says differently from a Tempo node, put right: one function per method, by name in `SPECIAL`.

Everything else passes through untouched. Parameters arrive as decoded JSON; answers leave as `result` values, refusals
as RpcRefused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from coinslot.devnet.door import INVALID_PARAMS
from coinslot.devnet.funding import FAUCET_UNITS, MINT_METHOD, TOKENS, mint
from coinslot.devnet.node import Node
from coinslot.devnet.reserve import read_pull, simulated_overrides, told
from coinslot.errors import RpcRefused, UsageError

REJECTED = -32000
# EIP-7966: not mined within the time that the caller allows.
NOT_MINED_IN_TIME = 4
# How long `eth_sendRawTransactionSync` waits unless told otherwise, and at most.
SYNC_MS, MOST_SYNC_MS = 20_000, 60_000
_POLL_S = 0.001
# Gas that is found by trying is what was used; some of it is given back only at the end.
GAS_MARGIN = 5, 4
# What can run is mined within milliseconds of its arrival.
GRACE_S = 0.05
_TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_FEE_MANAGER = "0x000000000000000000000000feec000000000000000000000000000000000000"

# The node picks the issuer's nonces, so one mint at a time.
_minting = threading.Lock()


def text_param(params: Sequence[object], what: str) -> str:
    """The first parameter, which must be text. Raises RpcRefused as a node would."""
    if not params or not isinstance(params[0], str):
        raise RpcRefused(f"missing or invalid {what}", code=INVALID_PARAMS)
    return params[0]


def true_receipt(receipt: object) -> object:
    """A receipt that tells who paid the fee and in which token.

    The fee is the last Transfer to the fee manager; anvil names the sender even where somebody else paid.
    """
    if not isinstance(receipt, dict):
        return receipt
    for log in reversed(receipt.get("logs") or []):
        topics = log["topics"]
        if len(topics) == 3 and topics[0] == _TRANSFER and topics[2] == _FEE_MANAGER:
            receipt["feePayer"], receipt["feeToken"] = "0x" + topics[1][-40:], log["address"]
            break
    if isinstance(receipt.get("blockTimestamp"), int):
        receipt["blockTimestamp"] = hex(receipt["blockTimestamp"])
    return receipt


def _submit(node: Node, raw: str) -> tuple[str, object]:
    """Send; what opens or tops up a channel with its context in place, one after the other."""
    pull = read_pull(raw)
    if pull is None:
        return _submit_plain(node, raw)
    with told(node, pull):
        return _submit_plain(node, raw)


def _submit_plain(node: Node, raw: str) -> tuple[str, object]:
    """Send, and look what became of it: the hash, and its receipt or None while it waits for its turn.

    anvil takes anything with a good signature and then drops what can't run without a word; a Tempo node refuses it.
    """
    sent = str(node.call("eth_sendRawTransaction", raw))
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until:
        known = node.call("eth_getTransactionByHash", sent) is not None
        receipt = node.call("eth_getTransactionReceipt", sent)
        if receipt is not None:
            return sent, receipt
        if not known:
            break
        time.sleep(_POLL_S)
    # Not mined. One more block tells for sure: now it is mined, or waits for an earlier nonce, or was dropped.
    node.call("evm_mine")
    known = node.call("eth_getTransactionByHash", sent) is not None
    receipt = node.call("eth_getTransactionReceipt", sent)
    if receipt is None and not known:
        raise _dropped(sent)
    return sent, receipt


def _dropped(sent: str) -> RpcRefused:
    return RpcRefused(
        "transaction rejected: it can't run on the latest block (valid_before past or more than 30 s ahead, "
        "valid_after in the future, a nonce that was used, or an access key that is unknown, exists or is spent)",
        code=REJECTED,
        data=sent,
    )


def _send(node: Node, params: Sequence[object]) -> object:
    return _submit(node, text_param(params, "raw transaction"))[0]


def _send_sync(node: Node, params: Sequence[object]) -> object:
    allowed = params[1] if len(params) > 1 and type(params[1]) is int else SYNC_MS
    until = time.monotonic() + min(max(allowed, 0), MOST_SYNC_MS) / 1000
    sent, receipt = _submit(node, text_param(params, "raw transaction"))
    while receipt is None:
        if time.monotonic() >= until:
            raise RpcRefused(f"transaction was not mined within {allowed} ms", code=NOT_MINED_IN_TIME, data=sent)
        time.sleep(_POLL_S)
        known = node.call("eth_getTransactionByHash", sent)
        receipt = node.call("eth_getTransactionReceipt", sent)
        if receipt is None and known is None:
            raise _dropped(sent)
    return true_receipt(receipt)


def _receipt(node: Node, params: Sequence[object]) -> object:
    return true_receipt(node.call("eth_getTransactionReceipt", *params))


def _block_receipts(node: Node, params: Sequence[object]) -> object:
    receipts = node.call("eth_getBlockReceipts", *params)
    return [true_receipt(each) for each in receipts] if isinstance(receipts, list) else receipts


def _fund(node: Node, params: Sequence[object]) -> object:
    """A million of every token, as the faucet of the public test network gives; the hashes."""
    try:
        with _minting:
            return [mint(node, text_param(params, "address"), FAUCET_UNITS, token) for token in TOKENS.values()]
    except UsageError as error:
        raise RpcRefused(str(error), code=INVALID_PARAMS) from error


def _mint(node: Node, params: Sequence[object]) -> object:
    """Our own: [address, base units as text, token or null]; the hash."""
    address, units, token = (*params, None, None, None)[:3]
    if not isinstance(address, str) or not isinstance(units, str) or not isinstance(token, str | None):
        raise RpcRefused("expected [address, base units as text, token or null]", code=INVALID_PARAMS)
    try:
        with _minting:
            return mint(node, address, int(units) if units.isascii() and units.isdigit() else -1, token)
    except UsageError as error:
        raise RpcRefused(str(error), code=INVALID_PARAMS) from error


# --- simulation -----------------------------------------------------------------------------------


def _single_calls(request: object) -> list[dict[str, object]]:
    """The calls of one Tempo transaction request as plain requests: its `calls`, then the request itself.

    A request without a `to` of its own is a contract creation to a Tempo node too, also where it has `calls`.
    """
    if not isinstance(request, dict):
        raise RpcRefused("a simulated call must be an object", code=INVALID_PARAMS)
    inner = [each for each in _list(request.get("calls")) if isinstance(each, dict)]
    plain = []
    for each in [*inner, request]:
        call = {name: each[name] for name in ("to", "value") if each.get(name) is not None}
        data = each.get("input") or each.get("data")
        plain.append(call | ({"input": data} if data else {}) | {"from": request.get("from")})
    return plain


def _merged(results: Sequence[dict[str, object]]) -> dict[str, object]:
    """What several calls of one transaction came to: the first that failed, else the last."""
    failed = [each for each in results if each.get("status") != "0x1"]
    gas = sum(int(str(each.get("gasUsed", "0x0")), 16) for each in results)
    logs = [log for each in results for log in _list(each.get("logs"))]
    told = failed[0] if failed else results[-1]
    return {**told, "gasUsed": hex(gas), "logs": [] if failed else logs}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _simulate(node: Node, params: Sequence[object]) -> list[dict[str, object]]:
    """`eth_simulateV1` for transactions of several calls, of which anvil runs the last only. Fees are not simulated."""
    payload = params[0] if params and isinstance(params[0], dict) else {}
    blocks = payload.get("blockStateCalls")
    if not isinstance(blocks, list) or not all(isinstance(each, dict) for each in blocks):
        raise RpcRefused("blockStateCalls must be a list of objects", code=INVALID_PARAMS)
    requests = [[_single_calls(each) for each in _list(block.get("calls"))] for block in blocks]
    plain = [
        _with_reserve({**block, "calls": [single for group in groups for single in group]})
        for block, groups in zip(blocks, requests, strict=True)
    ]
    answer = node.call("eth_simulateV1", {**payload, "blockStateCalls": plain}, *(params[1:] or ["latest"]))
    simulated = [each for each in _list(answer) if isinstance(each, dict)]
    for block, groups in zip(simulated, requests, strict=True):
        singles = iter([each for each in _list(block.get("calls")) if isinstance(each, dict)])
        block["calls"] = [_merged([next(singles) for _ in group]) for group in groups]
    return simulated


def _with_reserve(block: dict[str, object]) -> dict[str, object]:
    overrides = simulated_overrides(_list(block.get("calls")), block.get("stateOverrides"))
    return block if overrides is None else {**block, "stateOverrides": overrides}


def needs_help(request: dict[str, object]) -> bool:
    """Whether a method of `SIMULATING` is not for the node alone: calls of the reserve, and gas of several calls."""
    params = request.get("params")
    if not isinstance(params, list) or not params:
        return False
    return (request.get("method") != "eth_call" and bool(_inner(params[0]))) or simulated_overrides(
        params[:1]
    ) is not None


def _inner(request: object) -> list[object]:
    return _list(request.get("calls")) if isinstance(request, dict) else []


def _simulate_one(method: str, node: Node, params: Sequence[object]) -> object:
    """One call with the reserve's overrides added to the third parameter."""
    block = params[1] if len(params) > 1 else "latest"
    overrides = simulated_overrides(params[:1], params[2] if len(params) > 2 else None)
    return node.call(method, params[0], block, overrides, *params[3:])


def _call(node: Node, params: Sequence[object]) -> object:
    return _simulate_one("eth_call", node, params)


def _estimate(node: Node, params: Sequence[object]) -> object:
    """At least what the calls take that anvil leaves out: it estimates a transaction of several by the last."""
    told = int(str(_simulate_one("eth_estimateGas", node, params)), 16)
    request = params[0] if params else None
    if not isinstance(request, dict) or not (calls := _single_calls(request)[:-1]):
        return hex(told)
    block = params[1] if len(params) > 1 else "latest"
    asked = {"blockStateCalls": [_with_reserve({"calls": calls})]}
    (simulated,) = _list(node.call("eth_simulateV1", asked, block))
    results = _list(simulated.get("calls")) if isinstance(simulated, dict) else []
    used = _merged([each for each in results if isinstance(each, dict)])["gasUsed"]
    above, below = GAS_MARGIN
    return hex(max(told, int(str(used), 16) * above // below))


def _fill(node: Node, params: Sequence[object]) -> object:
    """anvil fills without looking at `calls`, and without a context; the gas is what an estimate says."""
    request = dict(params[0]) if isinstance(params[0], dict) else {}
    request.setdefault("gas", _estimate(node, params[:1]))
    return node.call("eth_fillTransaction", request, *params[1:])


def _simulate_tempo(node: Node, params: Sequence[object]) -> object:
    """`tempo_simulateV1`: the same, with the names of the tokens that moved."""
    blocks = _simulate(node, params)
    return {"blocks": blocks, "tokenMetadata": _metadata(blocks)}


def _metadata(blocks: Sequence[dict[str, object]]) -> dict[str, object]:
    """Names of the genesis tokens that moved."""
    calls = [call for block in blocks for call in _list(block.get("calls")) if isinstance(call, dict)]
    moved = {log.get("address") for call in calls for log in _list(call.get("logs")) if isinstance(log, dict)}
    return {
        address: {"name": symbol, "symbol": symbol, "decimals": "0x6", "currency": "USD"}
        for symbol, address in TOKENS.items()
        if address in moved
    }


SPECIAL: dict[str, Callable[[Node, Sequence[object]], object]] = {
    "eth_sendRawTransaction": _send,
    "eth_sendRawTransactionSync": _send_sync,
    "eth_getTransactionReceipt": _receipt,
    "eth_getBlockReceipts": _block_receipts,
    "tempo_fundAddress": _fund,
    "eth_simulateV1": _simulate,
    "tempo_simulateV1": _simulate_tempo,
    MINT_METHOD: _mint,
}

# These pass through as well, unless `needs_help`.
SIMULATING: dict[str, Callable[[Node, Sequence[object]], object]] = {
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_fillTransaction": _fill,
}
