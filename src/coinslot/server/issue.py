"""Issuing challenges: the terms of a route, bound to one request, for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.core.accept import arrange, parse_accept
from coinslot.core.canonical import base64url_encode
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge, KeyRing, format_challenge
from coinslot.core.digest import body_digest
from coinslot.core.header import quote
from coinslot.core.instant import format_instant
from coinslot.drive import Flow, now, random_bytes
from coinslot.errors import ConfigError, MalformedHeader
from coinslot.server.price import Offer, Price
from coinslot.server.request import Incoming, scope

# Long enough to find a wallet and a block, short enough that old prices don't linger.
EXPIRES_IN_S = 300
# Two equal requests in one second must not share an id, or one of two honest clients loses (CORE C10).
NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Issuer:
    """Binds offers to requests. `realm` comes from configuration, never from Host (T12).

    `alternate_header` asks clients to present in Payment-Authorization, so that another Authorization scheme may
    coexist. `rfc9530` writes body digests as the document does instead of as deployed clients read them.
    """

    realm: str
    keys: KeyRing
    expires_in_s: int = EXPIRES_IN_S
    alternate_header: bool = False
    rfc9530: bool = False

    def __post_init__(self) -> None:
        try:
            quote(self.realm)
        except MalformedHeader as error:
            raise ConfigError(f"realm: {error}") from None
        if not self.realm or "|" in self.realm:
            raise ConfigError("realm: name your service, such as 'api.example.com', without '|'")
        if self.expires_in_s < 1:
            raise ConfigError("a challenge must live for a second or more")

    def challenges(self, request: Incoming, price: Price) -> Flow[list[Challenge]]:
        """Fresh challenges for a request, in the order the client likes best (CORE section 6.4)."""
        offers = yield from price.offers(request)
        moment = yield from now()
        expires = format_instant(moment + self.expires_in_s)
        digest = body_digest(request.body, rfc9530=self.rfc9530) if request.body else None
        bound = scope(request)
        issued = []
        for offer in self._arranged(request, offers):
            nonce = base64url_encode((yield from random_bytes(NONCE_BYTES)))
            # Canonical as it stands: two plain members in order, both base64url.
            opaque = base64url_encode(f'{{"n":"{nonce}","s":"{bound}"}}'.encode("ascii"))
            header = ALTERNATE_HEADER if self.alternate_header else None
            description = price.extras.description
            issued.append(
                self.keys.issue(
                    Challenge(
                        "",
                        self.realm,
                        offer.method,
                        offer.intent,
                        offer.request,
                        expires,
                        digest,
                        opaque,
                        header,
                        description,
                    )
                )
            )
        return issued

    def _arranged(self, request: Incoming, offers: Sequence[Offer]) -> Sequence[Offer]:
        wanted = request.one("accept-payment")
        if wanted is None:
            return offers
        try:
            return arrange(parse_accept(wanted), offers)
        except MalformedHeader:  # the document lets a server ignore what it can't read
            return offers


def header_values(challenges: Sequence[Challenge]) -> list[str]:
    """The WWW-Authenticate values, one each."""
    return [format_challenge(one) for one in challenges]
