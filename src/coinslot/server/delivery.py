"""What becomes of a paid handler's answer, whatever the door: one whole 2xx answer ends the payment.

A door feeds the handler's response into a Delivering and does what it says:

    begin(status, headers)      the headers to send instead
    add(chunk)                  remember a piece (up to the limit)
    whole                       whether the pieces so far are all there will be, by Content-Length
    finish()                    the Delivery to record BEFORE the last piece is sent, or None if there is none
    interrupted()               the Delivery to record if the client left a stream before its end

An answer outside 2xx, an exception, or a handler that stops half-way leaves the payment redeemable by the same
credential.
"""

from __future__ import annotations

from collections.abc import Iterable

from coinslot.core.receipt import Receipt
from coinslot.errors import StoreError
from coinslot.server.answer import Headers, kept_headers, paid_headers, without_receipt
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery


class Delivering:
    """Watches one answer go by. Not `reported`: nothing of it will be recorded, so nothing is remembered either."""

    def __init__(self, receipt: Receipt, extra: Headers = (), *, reported: bool = True) -> None:
        self._receipt = receipt
        self._extra = extra
        self._reported = reported
        self._status = 0
        self._headers: Headers = ()
        self._kept: list[bytes] | None = [] if reported else None
        self._size = 0
        self._expected: int | None = None
        self._ended = False

    @property
    def counts(self) -> bool:
        """Whether this answer is the delivery: 2xx. Others carry no receipt (CORE-047)."""
        return 200 <= self._status < 300

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> Headers:
        """Take note of the answer's start; the headers to send."""
        self._status, self._headers = status, tuple(headers)
        lengths = [value for name, value in self._headers if name.lower() == "content-length"]
        self._expected = int(lengths[0]) if len(lengths) == 1 and lengths[0].isdecimal() else None
        return (
            paid_headers(self._headers, self._receipt, self._extra) if self.counts else without_receipt(self._headers)
        )

    def settled(self, receipt: Receipt) -> Headers:
        """The headers to send where a later receipt is known before any of them left."""
        self._receipt = receipt
        return paid_headers(self._headers, receipt, self._extra)

    def add(self, chunk: bytes) -> None:
        """Remember a piece, or forget all of them once there are too many to keep."""
        self._size += len(chunk)
        if self._kept is not None:
            self._kept.append(chunk)
            if self._size > MAX_KEPT_BODY:
                self._kept = None

    @property
    def whole(self) -> bool:
        """Whether every byte that Content-Length promised has gone by; False where no length was told."""
        return self._expected is not None and self._size >= self._expected

    def finish(self) -> Delivery | None:
        """What to record once the answer is whole.

        Raises StoreError for an answer that ends before the length it promised: no client takes that for whole, so it
        is not put on record, and the same credential may come again. (Answers to HEAD promise and have no body.)
        """
        if not self.counts:
            return None
        self._ended = True
        if self._expected is not None and 0 < self._size < self._expected:
            raise StoreError("an answer that ended before its promised length is no delivery")
        if not self._reported:
            return None
        body = b"".join(self._kept) if self._kept is not None else None
        return Delivery(self._status, kept_headers(self._headers), body)

    def interrupted(self) -> Delivery | None:
        """What to record when the client went away in the middle: it had its delivery, the rest is not kept. T25

        None after `finish`: then the answer did come to its end, and only the record of it failed.
        """
        if not self.counts or self._ended or not self._reported:
            return None
        return Delivery(self._status, kept_headers(self._headers), None)
