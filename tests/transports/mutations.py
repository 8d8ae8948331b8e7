"""Guards of the server doors; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

_ONE = "tests/transports/test_bypass.py::test_one_classifier"
_PREFLIGHT = "tests/transports/test_bypass.py::test_a_preflight_is_free_and_brings_nothing"
_WS = "tests/transports/test_websocket.py"
_METERING = "tests/transports/test_metering.py"
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
        "return PASS if True else _other_spelling",
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
    Mutation(
        "T42",
        "transports/asgi.py",
        "if isinstance(kind, Charge) and kind.price.metering is not None and not kind.manages:",
        "if isinstance(kind, Charge):",
        f"{_WS}::test_a_websocket_with_a_price_of_a_request_is_refused",
    ),
    Mutation(
        "T25",
        "transports/websocket.py",
        "            await self._pay(units)",
        "            await self._pay(0)",
        f"{_WS}::test_messages_are_paid_paused_and_closed_in_frames",
    ),
    Mutation(
        "F28",
        "transports/websocket.py",
        "asyncio.Queue[Message] = asyncio.Queue(MAX_QUEUED + 1)",
        "asyncio.Queue[Message] = asyncio.Queue()",
        f"{_WS}::test_frames_that_nobody_reads_are_not_heaped_up",
    ),
    Mutation(
        "T42",
        "transports/django.py",
        "inner, manages=kind.manages)",
        "inner)",
        f"{_METERING}::test_a_method_without_content_is_about_the_channel_only",
    ),
    Mutation(
        "T25",
        "transports/sse.py",
        "if self.event is not None and self.event.strip().lower().startswith(OURS):  # T25",
        "if self.event is not None and self.event.startswith(OURS):",
        f"{_ENCODING}::test_names_of_payment_events_are_ours",
    ),
    Mutation(
        "T25",
        "transports/sse.py",
        'return (text + "\\f").splitlines()  #',
        'return text.split("\\n")  #',
        f"{_ENCODING}::test_an_event_is_read_as_itself",
    ),
    Mutation(
        "T25",
        "transports/sse.py",
        "            if lent is None and not meter.meter.take(event.units):\n",
        "            if False:\n",
        f"{_SSE}::test_a_dry_stream_asks_pauses_and_goes_on_over_the_same_connection",
    ),
    Mutation(
        "F29",
        "server/meter.py",
        "reserved = yield from unless_given_up(renewed, self._free)  # F29",
        "reserved = yield from wait(renewed)",
        f"{_METER}::test_a_step_that_is_cancelled_spends_each_unit_once",
    ),
    Mutation(
        "F29",
        "server/meter.py",
        "unless_given_up(self._tab.store.reserve(order, least, most), self._free)  # F29",
        "wait(self._tab.store.reserve(order, least, most))",
        f"{_METER}::test_a_step_that_is_cancelled_spends_each_unit_once",
    ),
    Mutation(
        "F29",
        "server/meter.py",
        "self._begin((yield from unless_given_up(larger, self._free)))  # F29",
        "self._begin((yield from wait(larger)))",
        f"{_METER}::test_a_step_that_is_cancelled_spends_each_unit_once",
    ),
    Mutation(
        "F08",
        "server/meter.py",
        "window, taken, counted, (least, most), self._tab.rules)",
        "window, 0, counted, (least, most), self._tab.rules)",
        f"{_METER}::test_units_are_counted_in_memory_and_recorded_by_windows",
    ),
    Mutation(
        "T25",
        "server/meter.py",
        "        if cost > self._left:\n            return False",
        "        if cost > self._left:\n            return True",
        f"{_METER}::test_units_are_counted_in_memory_and_recorded_by_windows",
    ),
    Mutation(
        "T25",
        "server/meter.py",
        "        self._end(self._taken, self._counted)",
        "        self._end(0, 0)",
        f"{_METER}::test_what_was_not_used_of_a_window_is_free_again",
    ),
    Mutation(
        "T25",
        "transports/chunks.py",
        "            metered.sync.charge(units_of(piece))\n",
        "",
        f"{_METERING}::test_pieces_cost_their_bytes_and_break_off_where_nobody_pays",
    ),
    Mutation(
        "T25",
        "transports/metering.py",
        "        await asyncio.sleep(0)\n",
        "",
        f"{_METERING}::test_a_handler_that_never_waits_leaves_others_their_turn",
    ),
]
