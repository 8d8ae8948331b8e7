"""The gate's guards, taken out one by one."""

from support.mutation import Mutation

HERE = "tests/services/gate/test_gate.py::"
METERED = "tests/services/gate/test_metered.py::"
UNFORGED = "tests/services/gate/test_unforged.py::"
LENDING = "tests/services/test_lending.py::"

MUTATIONS = [
    Mutation(
        "T42",
        "services/gate.py",
        'if is_ambiguous(raw_path.split(b"?", 1)[0]):  # T42',
        "if False:",
        HERE + "test_a_path_with_two_readings_is_refused",
    ),
    Mutation(
        "T42",
        "server/price.py",
        'methods | {"HEAD"} if "GET" in methods else methods',
        "methods",
        HERE + "test_head_costs_what_get_costs",
    ),
    Mutation(
        "T44",
        "services/proxy.py",
        "dropped = HOP_BY_HOP | PAYMENT_REQUEST | FORWARDED",
        "dropped = HOP_BY_HOP | FORWARDED",
        HERE + "test_payments_stay_with_the_gate_and_hops_with_their_connection",
    ),
    Mutation(
        "T44",
        "services/proxy.py",
        'return bool(payment_parts([value.decode("latin-1")]))',
        "return False",
        HERE + "test_other_authorization_reaches_the_api_on_free_routes",
    ),
    Mutation(
        "T44",
        "services/proxy.py",
        "dropped = HOP_BY_HOP | PAYMENT_ANSWER | _OURS",
        "dropped = HOP_BY_HOP | _OURS",
        HERE + "test_the_api_cannot_speak_of_payments_in_our_name",
    ),
    Mutation(
        "T25",
        "services/metered.py",
        "return False  # what it used is told at the end, which is read for that.",
        "return self.till.gone  #",
        METERED + "test_who_hangs_up_before_the_bill_is_billed",
    ),
    Mutation(
        "T24",
        "client/pieces.py",
        "            return flowing.most_units  # T24",
        "            return flowing.most_units * 10",
        METERED + "test_bytes_are_paid_ahead_while_they_come",
    ),
    Mutation(
        "T25",
        "services/metered.py",
        "        return self.till.gone\n",
        "        return False\n",
        METERED + "test_nothing_is_charged_for_once_the_client_is_gone",
    ),
    Mutation(
        "T44",
        "services/gate.py",
        "await self._paying.serve(price, self._unforged, scope, receive, send)",
        "await self._paying.serve(price, self._proxy, scope, receive, send)",
        UNFORGED + "test_no_event_of_ours_passes_where_anything_is_paid[/charged]",
    ),
    Mutation(
        "T44",
        "services/metered.py",
        "        if not self.counts:\n            await self._uncounted.send(message)\n",
        "        if not self.counts:\n            await self.out(message)\n",
        UNFORGED + "test_no_event_of_ours_passes_whatever_the_status[500-/metered]",
    ),
    Mutation(
        "T44",
        "services/unforged.py",
        "if not name.lower().startswith(_OURS)]  # T44",
        "]",
        UNFORGED + "test_no_header_of_ours_passes_where_anything_is_paid[200-/bought]",
    ),
    Mutation(
        "T44",
        "services/unforged.py",
        'elif set(packed) - {b"", b"identity"}:',
        "elif False:",
        UNFORGED + "test_events_that_can_not_be_unpacked_are_refused[br]",
    ),
    Mutation(
        "T44",
        "services/eventstream.py",
        "_KIND in value.lower() for name, value in headers)  # T44",
        "_KIND == value.lower() for name, value in headers)",
        UNFORGED + "test_what_any_reader_may_take_for_events_is_told_to_be_events",
    ),
    Mutation(
        "T44",
        "services/eventstream.py",
        "if len(kinds) == 1 and _OF_UTF8.match(kinds[0].strip()) else _KIND  # T44",
        "if kinds else _KIND",
        UNFORGED + "test_events_have_one_type_and_one_encoding",
    ),
    Mutation(
        "F28",
        "services/unforged.py",
        "self._stream.decompress(chunk, MAX_UNPACKED)",
        "self._stream.decompress(chunk)",
        UNFORGED + "test_gzip_is_unpacked_a_piece_at_a_time",
    ),
    Mutation(
        "T25",
        "services/metered.py",
        "            await self.till.meter.secure()\n",
        "            pass\n",
        LENDING + "test_an_upstream_that_breaks_that_word_gives_nothing_away",
    ),
    Mutation(
        "T26",
        "server/sessions.py",
        "(lends and metering.events):  # T26",
        "lends:",
        LENDING + "test_an_upstream_works_for_nobody_who_could_not_pay_it",
    ),
]
