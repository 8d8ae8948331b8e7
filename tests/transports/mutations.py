"""Guards of the server doors; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

_ONE = "tests/transports/test_bypass.py::test_one_classifier"
_PREFLIGHT = "tests/transports/test_bypass.py::test_a_preflight_is_free_and_brings_nothing"
_WS = "tests/transports/test_websocket.py"
_METER = "tests/server/test_meter.py"
_SSE = "tests/transports/test_sse.py"
_ENCODING = "tests/transports/test_sse_encoding.py"
_ASGI = "tests/transports/test_asgi.py"

MUTATIONS = [
    Mutation("T42", "server/classify.py", "    method = method.upper()", "    method = str(method)", _ONE),
    Mutation("T42", "server/classify.py", "if _ODD.search(path) and _slips(", "if False and _slips(", _ONE),
    Mutation(
        "T42",
        "server/classify.py",
        "return PASS if route is not None else _other_spelling",
        "    return PASS\n\n\ndef permits",
        _ONE,
    ),
    Mutation(
        "T42",
        "server/classify.py",
        "    return _not_allowed(routes, path)\n\n\ndef permits",
        "    return PASS\n\n\ndef permits",
        _ONE,
    ),
    Mutation("T42", "server/classify.py", "    for wanted in overrides:", "    for wanted in ():", _ONE),
    Mutation(
        "T42",
        "transports/asgi.py",
        'elif kind == "websocket" and (priced := self._priced(scope)) is not None:',
        'elif kind == "websocket" and (priced := None) is not None:',
        "tests/transports/test_bypass.py::test_a_priced_websocket_is_refused",
    ),
    Mutation("T42", "transports/asgi.py", "bare(send) if found is BARE else send", "send", _PREFLIGHT),
    Mutation(
        "T42",
        "transports/wsgi.py",
        " if found is not BARE else _bare(self.app",
        " if True else _bare(self.app",
        _PREFLIGHT,
    ),
    Mutation(
        "T25",
        "transports/asgi.py",
        "if self._streaming and (self._gone or not failed) else None",
        "if False else None",
        f"{_ASGI}::test_hanging_up_is_no_free_pass",
    ),
    Mutation(
        "T25",
        "transports/asgi.py",
        "            failed = False\n            raise",
        "            raise",
        f"{_ASGI}::test_a_server_that_cancels_on_hang_up_records_as_well",
    ),
    Mutation(
        "T25",
        "transports/wsgi.py",
        "if self._streaming and not self._over else None",
        "if False else None",
        "tests/transports/test_wsgi.py::test_hanging_up_is_no_free_pass",
    ),
    Mutation(
        "T25",
        "transports/django.py",
        "if self._streaming and not self._over else None",
        "if False else None",
        "tests/transports/test_django.py::test_hanging_up_is_no_free_pass",
    ),
    Mutation(
        "T39",
        "server/answer.py",
        '("cache-control", "no-store")]',
        '("cache-control", "public")]',
        f"{_ASGI}::test_caches_keep_neither_the_402_nor_what_was_paid_for",
    ),
    Mutation(
        "T39",
        "server/answer.py",
        '("cache-control", _private(_listed(given, "cache-control"))),',
        '("cache-control", ", ".join(_listed(given, "cache-control"))),',
        f"{_ASGI}::test_caches_keep_neither_the_402_nor_what_was_paid_for",
    ),
    Mutation(
        "T40",
        "server/price.py",
        "        _check_description(self.extras.description)\n",
        "",
        f"{_ASGI}::test_what_could_end_a_header_is_refused_at_start_up",
    ),
]
