"""The terms of a session as the purse judges them, and whether later ones are still the same (T46 T47)."""

from __future__ import annotations

from coinslot.client.text import plain
from coinslot.core.challenge import Challenge
from coinslot.errors import NoPayableOffer
from coinslot.intents import acts, charge
from coinslot.intents.session import INTENT
from coinslot.method import SessionPayer

# Units that are requests: everything else is counted while it is delivered.
WHOLE_ANSWER = "request"
WHOLE = (None, WHOLE_ANSWER)


def as_charge(terms: acts.Terms, amount_units: int | None = None) -> charge.Terms:
    """The price of one unit (or another amount) as a charge of it would be: what limits and reports are about."""
    units = terms.amount_units if amount_units is None else amount_units
    return charge.Terms(terms.asset, units, (charge.Payee(terms.recipient, units),))


def metered_unit(terms: acts.Terms) -> str | None:
    """What is counted while it is delivered; None where the price is the whole answer's."""
    return None if terms.unit_type in WHOLE else plain(terms.unit_type or "")


def same_terms(agreed: acts.Terms, offered: acts.Terms) -> bool:
    """Whether an offer asks for what was agreed: the same amount per unit, payee, asset and unit."""
    who = (offered.asset.key, offered.recipient, offered.unit_type)
    return who == (agreed.asset.key, agreed.recipient, agreed.unit_type) and offered.amount_units == agreed.amount_units


def still(
    payer: SessionPayer, agreed: acts.Terms, challenges: list[Challenge], held: acts.Held | None
) -> Challenge | None:
    """The first of these challenges that goes on under the agreed terms, with the same channel; None if none does."""
    for challenge in challenges:
        if (challenge.method, challenge.intent) != (payer.method, INTENT):
            continue
        try:
            terms = payer.terms(challenge)
        except NoPayableOffer:
            continue
        if same_terms(agreed, terms) and (held is None or payer.fits(held, terms)):  # T46 T47
            return challenge
    return None
