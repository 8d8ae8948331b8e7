"""JSON-RPC in front of the chain: one request or a batch, faults included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from coinslot.devnet.door import HANG_UP, INVALID_PARAMS, METHOD_NOT_FOUND, Answer
from coinslot.devnet.svm import cheats, reads, sends
from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.params import INVALID_REQUEST, Params
from coinslot.devnet.svm.reads import Method
from coinslot.errors import RpcRefused, UsageError

METHODS: Mapping[str, Method] = {**reads.METHODS, **sends.METHODS, **cheats.METHODS}
PARSE_ERROR = -32700
# A cluster's public nodes take far fewer; more is a mistake.
MAX_BATCH = 1000


def call(chain: Chain, method: str, *values: object) -> object:
    """The result of one call. Raises RpcRefused."""
    if method not in METHODS:
        raise RpcRefused("Method not found", code=METHOD_NOT_FOUND)
    with chain.now():
        return METHODS[method](chain, Params(values))


class Facade:
    """Answers for one chain; every connection may share it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def answer(self, body: bytes) -> Answer:
        """The answer to a request's body, or HANG_UP."""
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return HTTPStatus.OK, _error(None, PARSE_ERROR, "Parse error")
        if not isinstance(request, list):
            return self._one(request)
        if not 0 < len(request) <= MAX_BATCH:
            return HTTPStatus.OK, _error(None, INVALID_REQUEST, "Invalid request")
        answers = [self._one(each) for each in request]
        spoilt = next((each for each in answers if each is HANG_UP or each[0] != HTTPStatus.OK), None)
        return spoilt or (HTTPStatus.OK, b"[" + b",".join(body for _, body in answers) + b"]")

    def close(self) -> None:
        """The connection has ended: nothing of it is kept."""

    def _one(self, request: object) -> Answer:
        if not isinstance(request, dict) or not isinstance(method := request.get("method"), str):
            return HTTPStatus.OK, _error(None, INVALID_REQUEST, "Invalid request")
        number, values = request.get("id"), request.get("params") or []
        fault = None if method.startswith(cheats.OWN) else self._chain.faults.next(method)
        if fault and fault.status is not None:
            return HTTPStatus(fault.status), HTTPStatus(fault.status).phrase.encode()
        if fault and fault.error is not None:
            return HTTPStatus.OK, msgspec.json.encode({"jsonrpc": "2.0", "error": fault.error, "id": number})
        if not isinstance(values, list):
            return HTTPStatus.OK, _error(number, INVALID_PARAMS, "Invalid params: a list of parameters is expected")
        try:
            told = {"jsonrpc": "2.0", "result": call(self._chain, method, *values), "id": number}
            answer = msgspec.json.encode(told)
        except RpcRefused as refused:
            answer = _error(number, refused.code, str(refused), refused.data)
        except UsageError as error:
            answer = _error(number, INVALID_PARAMS, f"Invalid params: {error}")
        if fault and fault.delay_s:
            time.sleep(fault.delay_s)
        return HANG_UP if fault and fault.is_lost else (HTTPStatus.OK, answer)


def _error(number: object, code: int, message: str, data: object = None) -> bytes:
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return msgspec.json.encode({"jsonrpc": "2.0", "error": error, "id": number})
