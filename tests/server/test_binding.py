"""A credential buys what its challenge was issued for: this method, path, query, body, realm and price, for a while."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coinslot.core.canonical import base64url_encode, encode_object
from coinslot.core.challenge import Challenge, KeyRing, bind
from coinslot.core.credential import encode_credential
from coinslot.core.instant import format_instant
from coinslot.drive import run
from coinslot.errors import ConfigError, UsageError
from coinslot.method import Extras
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.issue import EXPIRES_IN_S, Issuer
from coinslot.server.price import Price
from coinslot.server.request import Incoming, request_hash, scope
from support.till import GET, REALM, SECRET, Till, asking, first, offered, problem, rewritten, token_of, toy_seller
from support.toybank import Bank

OTHER_SECRET = bytes(reversed(SECRET))

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
REQUESTS = st.builds(
    Incoming,
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    TEXTS.map(lambda text: "/" + text),
    st.text("ab=&%+2", max_size=6),
    st.just({}),
    st.one_of(st.just(b""), st.binary(max_size=6)),
)


def identity(request: Incoming) -> tuple[object, ...]:
    return (request.method, request.path, request.query, request.body)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Till:
    """One till for many examples: nothing is settled in them but what should be."""
    bank = Bank(str(tmp_path_factory.mktemp("bank") / "bank.db")).create()
    bank.open("shop", coin=0)
    secret = bank.open("alice", coin=10**12)
    return Till(bank, {"bank": bank.path, "account": "alice", "secret": secret})


@pytest.mark.guard("T03", "T04", "T42")
@pytest.mark.spec("CORE-040", "CORE-041", "CORE-042", "CORE-043")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paid=REQUESTS, other=REQUESTS)
@example(paid=Incoming("GET", "/a", "b=1"), other=Incoming("GET", "/a", "b=2"))
@example(paid=Incoming("GET", "/a"), other=Incoming("HEAD", "/a"))
@example(paid=Incoming("GET", "/a?b", ""), other=Incoming("GET", "/a", "b"))
@example(paid=Incoming("GET", "/a", "1"), other=Incoming("GET", "/a1", ""))
@example(paid=Incoming("POST", "/a", body=b"x"), other=Incoming("POST", "/a", body=b"y"))
@example(paid=Incoming("POST", "/a", body=b"x"), other=Incoming("POST", "/a", body=b""))
@example(paid=Incoming("POST", "/a", body=b""), other=Incoming("POST", "/a", body=b"y"))
def test_a_credential_is_good_for_its_request_only(shop: Till, paid: Incoming, other: Incoming) -> None:
    """What was bought for one request is refused for any other, and taken for its own."""
    credential = shop.bought(paid)
    before = shop.bank.settled()
    if identity(paid) != identity(other):
        answer = shop.answer(credential, other)
        assert (answer.status, problem(answer)["slug"]) == (402, "invalid-challenge")
        assert shop.bank.settled() == before
    assert shop.serve(credential, paid).status == 200
    assert shop.bank.settled() == before + 1


@pytest.mark.guard("T03")
@given(a=REQUESTS, b=REQUESTS)
@example(a=Incoming("GET", "/a", "1"), b=Incoming("GET", "/a1", ""))
@example(a=Incoming("GET", "/a"), b=Incoming("GET/", "a"))
def test_what_a_request_is_bound_to_is_injective(a: Incoming, b: Incoming) -> None:
    """Two requests share a scope only if method, path and query are the same."""
    same = (a.method, a.path, a.query) == (b.method, b.path, b.query)
    assert (scope(a) == scope(b)) == same
    assert (request_hash(a, REALM) == request_hash(b, REALM)) == (same and a.body == b.body)


@pytest.mark.guard("T04")
@pytest.mark.spec("CORE-043")
def test_one_changed_byte_of_the_body_is_another_request(till: Till) -> None:
    """The digest binds every byte; the refusal comes with a challenge for the body that came."""
    sent = Incoming("POST", "/paid/report", body=b'{"to":"alice"}')
    credential = till.bought(sent)
    answer = till.answer(credential, replace(sent, body=b'{"to":"alicf"}'))
    assert answer.status == 402
    assert offered(answer)[0].digest != token_of(credential).challenge.digest
    assert till.serve(credential, sent).status == 200


@pytest.mark.guard("T12")
def test_the_realm_is_the_configured_one(bank: Bank, alice: dict[str, object]) -> None:
    """Two services with one secret: what is bought at one is refused by the other, whatever Host says."""
    cheap, dear = Till(bank, alice, realm="cheap.example.com"), Till(bank, alice, realm="dear.example.com")
    credential = cheap.bought()
    host = replace(GET, headers={"host": ("cheap.example.com",)})
    answer = dear.answer(credential, host)
    assert problem(answer)["slug"] == "invalid-challenge"
    assert offered(answer)[0].realm == "dear.example.com"
    assert isinstance(cheap.present(credential), Admission)


@pytest.mark.guard("T12")
def test_two_services_on_one_store_do_not_share_keys(bank: Bank, alice: dict[str, object]) -> None:
    """The same payer, path and Idempotency-Key at another realm is another request."""
    here = Till(bank, alice, realm="a.example.com")
    there = Till(bank, alice, here.store, realm="b.example.com")
    assert here.serve(here.bought(), idempotency_key="k").status == 200
    assert there.answer(there.bought(), idempotency_key="k").status == 422


TAMPERED: list[dict[str, Any]] = [
    {"id": "x" * 43},
    {"realm": "evil.example.com"},
    {"method": "toy2"},
    {"intent": "session"},
    {
        "request": encode_object(
            {"amount": "1", "currency": "coin", "recipient": "shop", "methodDetails": {"bank": "m"}}
        )
    },
    {"expires": "2999-01-01T00:00:00Z"},
    {"expires": None},
    {"digest": "sha-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="},
    {"opaque": encode_object({"s": scope(GET)})},
    {"opaque": None},
]


@pytest.mark.guard("T03")
@pytest.mark.parametrize("fields", TAMPERED, ids=lambda fields: "-".join(fields))
def test_no_echoed_field_may_be_changed(till: Till, fields: dict[str, Any]) -> None:
    """The id covers every field that decides; whatever is changed, the challenge is not ours."""
    answer = till.answer(rewritten(till.bought(), **fields))
    slug = "method-unsupported" if fields.keys() & {"method", "intent"} else "invalid-challenge"
    assert problem(answer)["slug"] == slug
    assert till.bank.submissions() == 0


@pytest.mark.guard("T03")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_character_of_an_echo_may_be_changed(shop: Till, data: st.DataObject) -> None:
    """One other character in any bound field is refused."""
    credential = shop.bought()
    name = data.draw(st.sampled_from(["id", "realm", "request", "expires", "opaque"]))
    text = getattr(token_of(credential).challenge, name)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("abcABC012-_.").filter(lambda one: one != text[at]))
    answer = shop.answer(rewritten(credential, **{name: text[:at] + other + text[at + 1 :]}))
    assert answer.status == 402
    assert problem(answer)["slug"] == "invalid-challenge"


@pytest.mark.spec("CORE-030")
def test_the_description_that_comes_back_counts_for_nothing(bank: Bank, alice: dict[str, object]) -> None:
    """Our key does not vouch for it, so it decides nothing and is never put on record."""
    till = Till(bank, alice, extras=Extras(description="one report"))
    credential = till.bought()
    forged = rewritten(credential, description="\x1b[2J paid in full")
    assert till.serve(forged).status == 200
    assert till.payment(forged).challenge.description is None


@pytest.mark.guard("T11", "F23")
def test_a_rotated_key_keeps_the_challenges_it_issued(bank: Bank, alice: dict[str, object]) -> None:
    """After a rotation the old key still recognises, the new one issues; without the old key it is over."""
    before = Till(bank, alice, keys=[OTHER_SECRET])
    credential, spare = before.bought(), before.bought()
    after = Till(bank, alice, keys=[SECRET, OTHER_SECRET])
    assert after.serve(credential).status == 200
    assert KeyRing((SECRET,)).issued(after.challenge())
    gone = Till(bank, alice, keys=[SECRET])
    assert problem(gone.answer(spare))["slug"] == "invalid-challenge"


def test_a_price_function_runs_once_a_challenge(bank: Bank, alice: dict[str, object]) -> None:
    """It prices the challenge; presenting never asks it again, and the bound terms hold after the price rose."""
    prices, asked = iter(["0.01", "7"]), []

    def price(request: Incoming) -> str:
        asked.append(request.path)
        return next(prices)

    till = Till(bank, alice, price=price)
    credential = till.bought()
    assert asked == ["/paid/report"]
    assert till.serve(credential).status == 200
    assert till.serve(credential).status == 200
    assert asked == ["/paid/report"]
    assert bank.balance("shop") == 10_000
    assert till.challenge().request_object()["amount"] == "7000000"


@pytest.mark.guard("T03")
def test_the_amount_is_the_routes_and_never_the_echos(bank: Bank, alice: dict[str, object]) -> None:
    """A cheap challenge for another path of ours does not open a dear one, though our own key signed it."""
    till = Till(bank, alice, price=lambda request: "0.01" if request.path == "/cheap" else "3")
    credential = till.bought(replace(GET, path="/cheap"))
    assert problem(till.answer(credential, replace(GET, path="/dear")))["slug"] == "invalid-challenge"
    assert bank.settled() == 0


@pytest.mark.guard("T10")
def test_a_challenge_ends_exactly_when_it_says(bank: Bank, alice: dict[str, object]) -> None:
    """Good one second before, refused at the second itself and after."""
    for late, status in ((-1, 200), (0, 402), (1, 402)):
        till = Till(bank, alice)
        credential = till.bought()
        till.world.at_s += EXPIRES_IN_S + late
        answer = till.serve(credential)
        assert answer.status == status
        assert status == 200 or problem(answer)["slug"] == "payment-expired"
    assert bank.settled() == 1


@pytest.mark.guard("T10")
@pytest.mark.parametrize("expires", [None, "2999-01-01T00:00:00", "soon", "2999-13-01T00:00:00Z"])
def test_an_end_that_is_missing_or_without_zone_is_no_end(till: Till, expires: str | None) -> None:
    """Even under our own key, which never signs such a thing, it fails closed."""
    made = replace(till.challenge(), id="", expires=expires)
    challenge = replace(made, id=bind(SECRET, made))
    credential = encode_credential(challenge, {"payer": "alice", "signature": "00"}, None)
    assert problem(till.answer(credential))["slug"] == "invalid-challenge"


@pytest.mark.guard("F21")
def test_a_clock_that_jumps_refuses_nobody_for_ever(till: Till) -> None:
    """An hour ahead ends open challenges and offers fresh ones; an hour back takes both."""
    credential = till.bought()
    till.world.at_s += 3600
    assert problem(till.answer(credential))["slug"] == "payment-expired"
    till.world.at_s -= 3600
    assert till.serve(credential).status == 200


def test_two_equal_requests_in_one_second_get_two_challenges(till: Till) -> None:
    """Else the second of two honest clients would find its challenge used."""
    challenges = [till.challenge() for _ in range(50)]
    assert len({each.id for each in challenges}) == 50
    assert len({each.expires for each in challenges}) == 1
    credentials = [till.pay(each) for each in challenges[:2]]
    assert [till.serve(each).status for each in credentials] == [200, 200]


@pytest.mark.spec("CORE-012", "CORE-017", "CORE-018", "CORE-021", "CORE-022", "CORE-023", "CORE-028", "CORE-031")
@pytest.mark.spec("CORE-049", "CORE-070")
def test_a_challenge_has_what_the_document_asks_for(till: Till) -> None:
    """Non-empty id, our realm, a lower-case method, an intent of the registry, a flat opaque map, lower-case names."""
    answer = till.answer(None)
    value = first(answer, "www-authenticate")
    assert value is not None
    assert [part.split("=")[0] for part in value.removeprefix("Payment ").split(", ")] == [
        "id",
        "realm",
        "method",
        "intent",
        "request",
        "expires",
        "opaque",
    ]
    (challenge,) = offered(answer)
    assert len(challenge.id) == 43
    assert (challenge.realm, challenge.method, challenge.intent) == (REALM, "toy", "charge")
    assert challenge.opaque_map().keys() == {"n", "s"}
    assert challenge.expires == format_instant(till.world.at_s + EXPIRES_IN_S)


@pytest.mark.parametrize("realm", ["", "a|b", "a\r\nb", "a\x00b"])
def test_a_realm_that_could_not_be_bound_is_refused_at_the_start(realm: str) -> None:
    """Injective slots and headers without line breaks begin with the configuration."""
    with pytest.raises(ConfigError, match="realm"):
        Issuer(realm, KeyRing((SECRET,)))


def test_a_lifetime_of_nothing_is_refused_at_the_start() -> None:
    """Every challenge would be stillborn."""
    with pytest.raises(ConfigError, match="second"):
        Issuer(REALM, KeyRing((SECRET,)), expires_in_s=0)


def test_a_price_that_cannot_be_asked_is_an_error_of_the_seller(bank: Bank, alice: dict[str, object]) -> None:
    """A fixed one at the start, a computed one as an exception; nobody is let in free."""
    with pytest.raises(UsageError):
        Till(bank, alice, price="0.0.1")
    computed = Till(bank, alice, price=lambda request: 0.1)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="float"):
        computed.present(None)


def test_one_offer_for_each_way_to_pay(bank: Bank, alice: dict[str, object]) -> None:
    """Several sellers of a route are offered in its order, and each takes its own."""
    sellers = [toy_seller(bank), toy_seller(bank, "shell", "museum")]
    till = Till(bank, alice, sellers=sellers)
    coin, shell = offered(till.answer(None))
    assert [each.request_object()["currency"] for each in (coin, shell)] == ["coin", "shell"]
    assert till.serve(till.pay(shell)).status == 200
    assert till.serve(till.pay(coin)).status == 200
    assert (bank.balance("museum", "shell"), bank.balance("shop")) == (10_000, 10_000)
    assert till.sums() == {"toy:main/shell": 0, "toy:main/coin": 0}


def test_a_seller_that_is_gone_is_no_longer_paid(bank: Bank, alice: dict[str, object]) -> None:
    """A challenge for an asset that the route dropped is refused before anything moves."""
    both = Till(bank, alice, sellers=[toy_seller(bank), toy_seller(bank, "shell", "museum")])
    shell = both.pay(offered(both.answer(None))[1])
    coins_only = Till(bank, alice)
    assert problem(coins_only.answer(shell))["slug"] == "invalid-challenge"
    assert bank.settled() == 0


def test_an_unbound_body_may_be_anything(bank: Bank, alice: dict[str, object]) -> None:
    """Where the price opts out, the challenge has no digest and any body goes with it."""
    till = Till(bank, alice)
    till.price = Price("0.01", till.sellers, bind_body=False)
    sent = Incoming("POST", "/paid/report", body=None)
    assert till.challenge(sent).digest is None
    assert till.serve(till.bought(sent), sent).status == 200


def test_the_alternate_header_carries_the_credential(bank: Bank, alice: dict[str, object]) -> None:
    """Where a challenge moves the credential, it is taken from there and nowhere else."""
    till = Till(bank, alice, alternate_header=True)
    challenge = till.challenge()
    assert challenge.header == "Payment-Authorization"
    credential = till.pay(challenge)
    basic = replace(GET, headers={"authorization": ("Basic YTpi",), "payment-authorization": (credential,)})
    assert problem(till.answer(credential))["slug"] == "malformed-credential"
    got = run(till.gate.admit(basic, till.price), till.world)
    assert isinstance(got, Admission)


def test_where_no_header_was_named_the_alternate_one_is_not_read(till: Till) -> None:
    """A credential in the wrong header is no credential. T42"""
    moved = replace(GET, headers={"payment-authorization": (till.bought(),)})
    got = run(till.gate.admit(moved, till.price), till.world)
    assert isinstance(got, Answer)
    assert got.status == 402


def test_accept_payment_orders_and_drops_offers(bank: Bank, alice: dict[str, object]) -> None:
    """What the client likes best comes first, what it refuses is left out, nonsense changes nothing."""
    till = Till(bank, alice)

    def methods(accept: str | None) -> list[str]:
        request = GET if accept is None else asking(GET, None, accept_payment=accept)
        return [f"{each.method}/{each.intent}" for each in offered(till.answer(None, request))]

    assert methods(None) == methods("*/*") == methods("card/charge") == methods("!!") == ["toy/charge"]


def test_a_challenge_that_nobody_issued_is_refused(till: Till) -> None:
    """Terms made up by a client, under an id made up by it."""
    request = till.challenge().request
    forged = Challenge(base64url_encode(b"\0" * 32), REALM, "toy", "charge", request, "2999-01-01T00:00:00Z")
    assert problem(till.answer(till.pay(forged)))["slug"] == "invalid-challenge"
