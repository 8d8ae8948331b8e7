"""Issuing challenges: the terms of a route, bound to one request, for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from coinslot.core.accept import arrange, parse_accept
from coinslot.core.canonical import base64url_encode
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge, KeyRing, format_challenge
from coinslot.core.digest import body_digest
from coinslot.core.header import quote
from coinslot.core.instant import format_instant, parse_instant
from coinslot.drive import Flow, now, random_bytes
from coinslot.errors import ChainError, ConfigError, InvalidChallenge, MalformedHeader, RailUnavailable
from coinslot.server.price import Offer, Price
from coinslot.server.request import Incoming, Watched, path_scope, scope

# Long enough to find a wallet and a block, short enough that old prices don't linger.
EXPIRES_IN_S = 300
# Two equal requests in one second must not share an id, or one of two honest clients loses (CORE C10).
NONCE_BYTES = 16
# A node that does not answer may do so in a moment.
RETRY_SILENT_S = 5
# The member of `opaque` that marks a challenge to prove an account: what answers it buys nothing.
PROOF = "p"
# The member that names the header fields its price was made of, between commas.
LOOKED_AT = "h"


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

    def challenges(
        self, request: Incoming, price: Price, hint: Callable[[Offer], Offer] | None = None
    ) -> Flow[list[Challenge]]:
        """Fresh challenges for a request, in the order the client likes best (CORE section 6.4).

        `hint` may add to an offer what is for this client alone. Raises RailUnavailable where every offer needs
        something of a chain that does not answer.
        """
        watched = Watched(request.headers) if callable(price.amount) else None  # T03
        offers = yield from price.offers(request if watched is None else replace(request, headers=watched))
        names = () if watched is None else watched.names
        mark = f'"{LOOKED_AT}":"{",".join(names)}",' if names else ""
        expires = format_instant((yield from now()) + self.expires_in_s)
        digest = body_digest(request.body, rfc9530=self.rfc9530) if request.body else None
        issued = []
        trouble: ChainError | None = None
        for plain in self._arranged(request, offers):
            offer = plain if hint is None else hint(plain)
            try:
                offer = yield from _completed(offer)
            except ChainError as error:  # F11: the other ways to pay are as good as ever
                trouble = error
                continue
            if offer.terms is None:
                bound = scope(request, names)
                issued.append((yield from self._issue(offer, price, expires, bound, digest, mark)))
            else:  # of a session: many requests to this path will echo it
                issued.append((yield from self._issue(offer, price, expires, path_scope(request), None)))
        if not issued and trouble is not None:
            raise silent(trouble) from trouble
        for proof in price.proofs if request.method == "HEAD" else ():
            marked = yield from self._issue(proof, price, expires, scope(request), None, f'"{PROOF}":"1",')
            issued.append(marked)
        return issued

    def _issue(
        self, offer: Offer, price: Price, expires: str, bound: str, digest: str | None, mark: str = ""
    ) -> Flow[Challenge]:
        nonce = base64url_encode((yield from random_bytes(NONCE_BYTES)))
        # Canonical as it stands: plain members in order, all base64url or names of header fields.
        before, between = ("", mark) if mark > '"n"' else (mark, "")
        opaque = base64url_encode(f'{{{before}"n":"{nonce}",{between}"s":"{bound}"}}'.encode("ascii"))
        header = ALTERNATE_HEADER if self.alternate_header else None
        description = price.extras.description
        return self.keys.issue(
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

    def _arranged(self, request: Incoming, offers: Sequence[Offer]) -> Sequence[Offer]:
        wanted = request.one("accept-payment")
        if wanted is None:
            return offers
        try:
            return arrange(parse_accept(wanted), offers)
        except MalformedHeader:  # the document lets a server ignore what it can't read
            return offers


def silent(error: ChainError) -> RailUnavailable:
    """What to answer while the chain can't be asked and nothing was claimed."""
    detail = f"the payment network could not be asked ({type(error).__name__}); nothing was charged"
    return RailUnavailable(detail, retry_after_s=RETRY_SILENT_S)


def _completed(offer: Offer) -> Flow[Offer]:
    """The offer with what only the chain knows now. Raises ChainError."""
    asked = yield from offer.seller.complete(offer.asked)
    return offer if asked is offer.asked else replace(offer, asked=asked)


def looked_at(bound: Mapping[str, str]) -> tuple[str, ...]:
    """The header fields that a price was made of, by what was bound in `opaque`."""
    return tuple(bound[LOOKED_AT].split(",")) if LOOKED_AT in bound else ()


def header_values(challenges: Sequence[Challenge]) -> list[str]:
    """The WWW-Authenticate values, one each."""
    return [format_challenge(one) for one in challenges]


def expires_at_s(challenge: Challenge) -> float:
    """Until when a challenge may be answered, seconds since 1970. Raises InvalidChallenge."""
    try:
        return parse_instant(challenge.expires or "")
    except MalformedHeader as error:
        raise InvalidChallenge(f"expires: {error}") from None
