"""Asking a node what calls would do, one after the other, on top of the newest block (eth_simulateV1).

Nothing is believed to have happened because of it: it only saves broadcasting, and sponsoring, what must fail. T34
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex, parse_quantity, to_hex
from coinslot.chains.evm.rpc import MAX_LOGS, Log
from coinslot.drive import Flow, rpc
from coinslot.errors import RpcUnreachable, UsageError
from coinslot.methods.tempo.transaction.fields import Call

_METHOD = "eth_simulateV1"


@dataclass(frozen=True, slots=True)
class Simulated:
    """What one call would do: whether it succeeds, what it returns, which events it tells, how much gas it takes."""

    succeeded: bool
    returned: bytes
    logs: tuple[Log, ...]
    gas_used: int


def simulate(url: str, calls: Sequence[tuple[str, Call]]) -> Flow[tuple[Simulated, ...]]:
    """What the calls, each with its sender, would do. Raises RpcRefused or RpcUnreachable."""
    wanted = [{"from": sender, "to": call.to, "data": to_hex(call.data)} for sender, call in calls]
    answer = yield from rpc(url, _METHOD, [{"blockStateCalls": [{"calls": wanted}]}, "latest"])
    try:
        return _read(answer, len(wanted))
    except (UsageError, KeyError, IndexError, TypeError) as error:
        raise RpcUnreachable(f"{_METHOD}: not an answer to {len(wanted)} calls") from error


def _read(answer: object, count: int) -> tuple[Simulated, ...]:
    (block,) = _list(answer)
    results = _list(block["calls"]) if isinstance(block, Mapping) else []
    if len(results) != count:
        raise UsageError("another number of calls")
    return tuple(_simulated(result) for result in results)


def _simulated(result: object) -> Simulated:
    fields = _object(result)
    logs = _list(fields.get("logs", []))
    if len(logs) > MAX_LOGS:
        raise UsageError("too many logs")
    return Simulated(
        parse_quantity(fields["status"]) == 1,
        parse_hex(fields["returnData"]),
        tuple(_log(_object(log)) for log in logs),
        parse_quantity(fields["gasUsed"]),
    )


def _log(fields: Mapping[str, object]) -> Log:
    topics = _list(fields["topics"])
    return Log(
        parse_address(fields["address"]),
        tuple(parse_hex(topic, size=32) for topic in topics),
        parse_hex(fields["data"]),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise UsageError("not a list")
    return value


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise UsageError("not an object")
    return value
