"""A request with a credential, and who it is: what the steps of the gate share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coinslot.core.canonical import canonical
from coinslot.core.credential import Credential
from coinslot.core.header import printable_ascii
from coinslot.core.record import quick
from coinslot.errors import BadRequest, MalformedCredential, UsageError, VerificationFailed
from coinslot.intents.acts import Act, Claimed, Presented
from coinslot.intents.session import Rules, Voucher
from coinslot.method import SessionSeller
from coinslot.server.price import Price
from coinslot.server.request import Incoming

# Longer keys are no keys; the text is part of a unique index.
MAX_IDEMPOTENCY_KEY = 255


@quick
@dataclass(frozen=True, slots=True)
class Asked:
    """A request with an authenticated credential of a session, and who it is."""

    request: Incoming
    price: Price
    credential: Credential
    idempotency_key: str | None

    @property
    def credential_hash(self) -> str:
        """The identity of what was presented."""
        return credential_hash(self.credential)

    @property
    def about_channel(self) -> bool:
        """Whether no content is asked for."""
        request = self.request
        if request.manages or request.method == "HEAD":
            return True
        return self.price.metering is not None and request.method == "POST" and request.bodiless


@quick
@dataclass(frozen=True, slots=True)
class Case:
    """An asked request with whom it pays and what it presents.

    `payee` is who is paid in what at this seller: the recipient, the asset's key, and the seller's identity.
    """

    asked: Asked
    seller: SessionSeller
    claimed: Claimed
    presented: Presented
    rules: Rules
    payee: tuple[str, str, int]

    @property
    def voucher(self) -> Voucher | None:
        """The voucher, None for a proof of who pays. Raises VerificationFailed where there must be one."""
        if self.presented.voucher is None and self.presented.act is Act.VOUCHER:
            raise VerificationFailed("no voucher was presented")
        return self.presented.voucher

    @property
    def challenge_id(self) -> str:
        """The id under which the challenge was issued."""
        return self.asked.credential.challenge.id


def asked_of(request: Incoming, price: Price, credential: Credential) -> Asked:
    """An authenticated request. Raises BadRequest."""
    return Asked(request, price, credential, idempotency_key(request))


def says(credential: Credential, act: Act) -> bool:
    """Whether a credential of a session says that it is this act, whatever else is right about it."""
    try:
        return credential.payload_object().get("action") == act
    except MalformedCredential:
        return False


def credential_hash(credential: Credential) -> str:
    """The identity of what was presented: its payload in canonical form, so that spelling does not matter."""
    try:
        return hashlib.sha256(canonical(credential.payload_object())).hexdigest()
    except UsageError:
        return hashlib.sha256(credential.payload).hexdigest()


def idempotency_key(request: Incoming) -> str | None:
    """The client's key, or None. Raises BadRequest for one that can't be kept. T41"""
    values = request.all("idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not 0 < len(values[0]) <= MAX_IDEMPOTENCY_KEY or not printable_ascii(values[0]):  # T41
        raise BadRequest(f"Idempotency-Key must be one value of 1 to {MAX_IDEMPOTENCY_KEY} ASCII characters")
    return values[0]
