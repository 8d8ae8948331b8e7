"""The gate's guards, taken out one by one."""

from support.mutation import Mutation

HERE = "tests/services/gate/test_gate.py::"
METERED = "tests/services/gate/test_metered.py::"

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
        METERED + "test_who_hangs_up_pays_for_what_was_sent",
    ),
]
