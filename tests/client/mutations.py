"""Guards of the paying side, taken out one by one; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

EXCHANGE = "client/exchange.py"
PRESENTING = "client/presenting.py"
JOURNEY = "client/journey.py"
PURSE = "client/purse.py"
LOST = "tests/client/test_lost.py::"
ONCE = "tests/client/test_once.py::"
SECRETS = "tests/client/test_secrets.py::"

MUTATIONS = [
    Mutation(
        "T10",
        "client/choose.py",
        "if expires_at_s <= now_s:",
        "if False:",
        "tests/client/test_exchange.py::test_offers_out_of_time_are_not_paid",
    ),
    Mutation(
        "T24",
        PRESENTING,
        "event = Paid(resume.origin, resume.terms, resume.reference, receipt, warning, resume)",
        "event = Paid(resume.origin, resume.terms, receipt and receipt.reference, receipt, warning, resume)",
        "tests/client/test_exchange.py::test_a_receipt_that_claims_more_changes_nothing",
    ),
    Mutation(
        "T37",
        EXCHANGE,
        "if not is_private(origin):  # T37",
        "if False:",
        f"{ONCE}test_no_credential_goes_over_plain_http",
    ),
    Mutation(
        "T37",
        EXCHANGE,
        "if journey.strayed:  # T37",
        "if False:",
        f"{ONCE}test_nothing_is_paid_after_a_redirect_elsewhere",
    ),
    Mutation(
        "T37",
        JOURNEY,
        "self.strayed = self.strayed or origin != self.origin",
        "self.strayed = origin != self.origin",
        f"{ONCE}test_a_detour_through_another_site_is_not_paid",
    ),
    Mutation(
        "T37",
        JOURNEY,
        "if (self.method, self.url, self.digest) != (method, url, hashlib.sha256(body).digest()):",
        "if self.method != method:",
        f"{LOST}test_a_payment_is_resumed_for_its_own_request_only",
    ),
    Mutation(
        "T37",
        "transports/httpx_wire.py",
        "headers = request.headers.copy()",
        "headers = request.headers",
        f"{ONCE}test_a_redirect_after_paying_carries_nothing_and_pays_nothing",
    ),
    Mutation(
        "T37",
        "transports/requests.py",
        "copy = request.copy()\n    copy.hooks = {}",
        "copy = request",
        f"{ONCE}test_a_redirect_after_paying_carries_nothing_and_pays_nothing",
    ),
    Mutation(
        "T37",
        "client/text.py",
        "return ipaddress.ip_address(host).is_loopback",
        "return ipaddress.ip_address(host).is_private",
        "tests/client/test_text.py::test_only_https_and_this_machine_are_private",
    ),
    Mutation(
        "T38",
        JOURNEY,
        "header: tuple[str, str] = field(repr=False)",
        "header: tuple[str, str] = field()",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "client/outcome.py",
        'detail.replace(token, "[credential]")',
        "detail",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "transports/requests.py",
        "error.request = self._request  # the copy in it holds the credential. T38",
        "pass",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "transports/requests.py",
        "response.request = self._request",
        "pass",
        "tests/transports/test_requests.py::test_history_and_prepared_requests_hold_no_credential",
    ),
    Mutation(
        "T46",
        EXCHANGE,
        "    if journey.resume is not None:\n        raise second(purse, origin, journey.resume)\n",
        "",
        f"{ONCE}test_a_redirect_after_paying_does_not_lead_to_a_second_payment",
    ),
    Mutation(
        "T46",
        PRESENTING,
        "    raise refused(purse, resume, answer.status, problem, doubt=again)",
        "    journey.resume = None\n    return answer",
        f"{ONCE}test_a_server_that_asks_for_ever_is_paid_once",
    ),
    Mutation(
        "T46",
        PRESENTING,
        "    if doubt:\n",
        "    if False:\n",
        f"{LOST}test_a_resumed_payment_that_is_refused_stays_unknown",
    ),
    Mutation(
        "T47",
        PURSE,
        "if terms.amount_units > Fraction(limit) * 10 ** (asset.decimals or 0):",
        "if False:",
        "tests/client/test_purse.py::test_words_of_the_server_change_nothing",
    ),
    Mutation(
        "T47",
        PURSE,
        "for payee in terms.payees if",
        "for payee in terms.payees[:1] if",
        "tests/client/test_purse.py::test_every_payee_must_be_known",
    ),
    Mutation(
        "F03",
        PRESENTING,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Cancelled as error:  # ",
        f"{LOST}test_a_lost_answer_is_an_unknown_outcome",
    ),
    Mutation(
        "F03",
        EXCHANGE,
        "            raise lost(purse, journey.resume, error) from error\n",
        "            raise\n",
        f"{LOST}test_an_answer_lost_after_a_redirect_is_unknown",
    ),
    Mutation(
        "F03",
        "transports/httpx_wire.py",
        "except (httpx.HTTPError, OSError) as error:",
        "except OSError as error:",
        "tests/transports/test_httpx.py::test_a_stream_that_breaks_off_names_the_payment",
    ),
    Mutation(
        "F11",
        PRESENTING,
        "if pause_s is None:",
        "if True:",
        f"{LOST}test_come_back_later_is_obeyed_with_the_same_credential",
    ),
    Mutation(
        "F14",
        EXCHANGE,
        "journey.resume = resume  # from here on this request never pays again. F14",
        "pass",
        f"{LOST}test_an_unanswered_login_does_not_pay_twice",
    ),
    Mutation(
        "F29",
        PRESENTING,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Exception as error:  # ",
        f"{LOST}test_a_cancelled_paid_request_is_unknown",
    ),
    Mutation(
        "F29",
        "transports/httpx_wire.py",
        "except (httpx.HTTPError, OSError, asyncio.CancelledError) as error:",
        "except (httpx.HTTPError, OSError) as error:",
        f"{LOST}test_a_cancelled_paid_request_is_unknown",
    ),
]
