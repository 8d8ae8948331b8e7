"""Reading what a node answers: nothing is taken for what it isn't, and a bool is no integer.

Whatever can't be read is RpcUnreachable: no answer, or one that can't be what it claims to be.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from coinslot.chains.solana.instruction import I64_MAX, I64_MIN, U64_MAX
from coinslot.errors import BadTransaction, RpcUnreachable, UsageError

T = TypeVar("T")

# A node explains a failure in a few names; more is not for us.
MAX_KIND = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction failed, in the node's own names.

    `kind` is the name of the error ("BlockhashNotFound", "InsufficientFunds", ...; "Custom" if a program gave its own
    `code`), `instruction` the place of the instruction that failed, where it was one.
    """

    kind: str
    instruction: int | None = None
    code: int | None = None

    @property
    def text(self) -> str:
        """In words, for people."""
        what = self.kind if self.code is None else f"program error {self.code}"
        return what if self.instruction is None else f"{what} in instruction {self.instruction}"


def read_failure(answer: object) -> Failure | None:
    """The `err` of a status or a simulation: null, a name, or a name with details. Raises UsageError."""
    if answer is None:
        return None
    if type(answer) is str:
        return Failure(_kind(answer))
    name, detail = _single(answer)
    if name != "InstructionError":
        return Failure(name)
    if type(detail) is not list or len(detail) != 2:
        raise UsageError("an InstructionError is a place and a reason")
    place = _ranged(detail[0], 0, 255)
    if type(detail[1]) is str:
        return Failure(_kind(detail[1]), place)
    name, code = _single(detail[1])
    return Failure(name, place, _ranged(code, 0, 2**32 - 1) if name == "Custom" else None)


def _single(answer: object) -> tuple[str, object]:
    if type(answer) is not dict or len(answer) != 1:
        raise UsageError("an error is a name, or one name with its details")
    ((name, detail),) = answer.items()
    return _kind(name), detail


def _kind(name: object) -> str:
    if type(name) is not str or not name.isascii() or not name.isalnum() or len(name) > MAX_KIND:
        raise UsageError("the name of an error is letters and digits")
    return name


def members(method: str, answer: object) -> Mapping[str, object]:
    """A JSON object. Raises RpcUnreachable."""
    if type(answer) is not dict:
        raise RpcUnreachable(f"{method}: the answer is not an object")
    return answer


def elements(method: str, name: str, answer: object, most: int) -> list[object]:
    """A JSON list of at most `most` elements. Raises RpcUnreachable."""
    if type(answer) is not list or len(answer) > most:
        raise RpcUnreachable(f"{method}: {name} is not a list of at most {most}")
    return answer


def read(method: str, name: str, parse: Callable[..., T], value: object) -> T:
    """`parse(value)`, where what it refuses is a bad answer. Raises RpcUnreachable."""
    try:
        return parse(value)
    except (UsageError, BadTransaction) as error:
        raise RpcUnreachable(f"{method}: {name}: {error}") from error


def parse_u64(value: object) -> int:
    """A JSON integer from 0 to 2**64-1. Raises UsageError."""
    return _ranged(value, 0, U64_MAX)


def parse_i64(value: object) -> int:
    """A JSON integer from -2**63 to 2**63-1. Raises UsageError."""
    return _ranged(value, I64_MIN, I64_MAX)


def parse_bool(value: object) -> bool:
    """A JSON bool. Raises UsageError."""
    if type(value) is not bool:
        raise UsageError("neither true nor false")
    return value


def _ranged(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"no integer from {least} to {most}")
    return value


def parse_base64(value: object) -> bytes:
    """The bytes of ["<base64>", "base64"], as nodes spell account data and transactions. Raises UsageError."""
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or value[1] != "base64":
        raise UsageError("not a pair of base64 text and its name")
    try:
        return b64decode(value[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("no base64") from error
