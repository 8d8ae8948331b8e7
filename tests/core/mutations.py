"""Guards of the protocol core, of money and of what both read, each taken out once; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

_JSON = "tests/core/test_canonical.py::"
_FIELDS = "tests/core/test_header.py::"
_CHALLENGE = "tests/core/test_challenge.py::"
_CREDENTIAL = "tests/core/test_credential.py::"
_MONEY = "tests/test_money.py::"


def _off(name: str, file: str, guard: str, test: str) -> Mutation:
    """A guard that is an `if`: its condition becomes False."""
    indent, keyword = guard[: len(guard) - len(guard.lstrip())], guard.lstrip().partition(" ")[0]
    return Mutation(name, file, guard, f"{indent}{keyword} False:", test)


MUTATIONS: list[Mutation] = [
    # JSON and base64url
    _off("T09", "core/canonical.py", "    if len(members) != len(pairs):", _JSON + "test_lenient_json_is_refused"),
    Mutation(
        "T09",
        "core/canonical.py",
        "return value if _compact.encode(value) == raw else None",
        "return value",
        _JSON + "test_lenient_json_is_refused",
    ),
    _off(
        "T09",
        "core/canonical.py",
        '    if number in (float("inf"), float("-inf")):',
        _JSON + "test_lenient_json_is_refused",
    ),
    _off(
        "T09",
        "core/canonical.py",
        '    if "\\\\u" in text and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):',
        _JSON + "test_lenient_json_is_refused",
    ),
    Mutation(
        "T09",
        "core/canonical.py",
        "return -MAX_INTEGER <= value <= MAX_INTEGER",
        "return True",
        _JSON + "test_what_json_can_t_hold_is_refused",
    ),
    Mutation(
        "T09",
        "core/canonical.py",
        'if text.isascii() and b"\\\\" not in text:',
        "if text:",
        _JSON + "test_canonical_by_hand",
    ),
    _off("T40", "core/canonical.py", "    if over and text[-1] not in _LAST[over]:", _JSON + "test_base64url_by_hand"),
    _off("T40", "core/canonical.py", '    if "+" in text or "/" in text:', _JSON + "test_base64url_by_hand"),
    _off("T40", "core/canonical.py", "    if len(raw) != len(text) * 3 // 4:", _JSON + "test_base64url_by_hand"),
    _off(
        "T41",
        "core/canonical.py",
        "    if len(text) > MAX_WIRE_BYTES:",
        _JSON + "test_long_base64url_is_refused_by_its_length",
    ),
    _off(
        "T41", "core/canonical.py", "    if len(raw) > MAX_WIRE_BYTES:", _JSON + "test_nothing_is_read_of_ten_mebibytes"
    ),
    _off("T41", "core/canonical.py", "        if nested_deeper(text, MAX_DEPTH):", _JSON + "test_depth_is_bounded"),
    # Fields
    Mutation("T41", "core/header.py", 'A-Za-z-]++"', 'A-Za-z-]+"', _FIELDS + "test_no_pattern_can_backtrack"),
    Mutation(
        "T40",
        "core/header.py",
        '    if _UNFIT.search(text):  # T40\n        raise MalformedHeader("a header value',
        '    if False:\n        raise MalformedHeader("a header value',
        _FIELDS + "test_what_can_t_stand_in_a_header_is_not_quoted",
    ),
    Mutation(
        "T40",
        "core/header.py",
        '    if _UNFIT.search(text):  # T40\n        raise MalformedHeader("a quoted string',
        '    if False:\n        raise MalformedHeader("a quoted string',
        _FIELDS + "test_escapes_smuggle_nothing",
    ),
    _off(
        "T40",
        "core/header.py",
        "    if not printable_ascii(field) and _UNFIT.search(field):",
        _FIELDS + "test_control_characters_make_a_field_unreadable",
    ),
    Mutation(
        "T40",
        "core/header.py",
        "            if not clean:\n                break",
        "            if False:\n                break",
        _FIELDS + "test_a_scheme_begins_after_a_comma_only",
    ),
    _off(
        "T41",
        "core/header.py",
        "        if len(found) == MAX_PARAMETERS:",
        _FIELDS + "test_parts_and_parameters_are_counted",
    ),
    _off(
        "T41",
        "core/header.py",
        "        if len(parts) == MAX_PARTS:",
        _FIELDS + "test_parts_and_parameters_are_counted",
    ),
    _off(
        "T41",
        "core/header.py",
        "        if total > MAX_FIELDS_BYTES:",
        _FIELDS + "test_many_small_fields_are_bounded_together",
    ),
    _off(
        "T41",
        "core/header.py",
        "\n    if len(field) > MAX_FIELD_BYTES:",
        _FIELDS + "test_long_fields_are_refused_unread",
    ),
    _off(
        "T41",
        "core/header.py",
        "        if len(field) > MAX_FIELD_BYTES:",
        _FIELDS + "test_long_fields_are_refused_unread",
    ),
    _off(
        "T41",
        "core/accept.py",
        "    if len(field) > MAX_FIELD_BYTES:",
        "tests/core/test_accept.py::test_the_field_is_bounded",
    ),
    # Challenges and keys
    Mutation(
        "T09",
        "core/challenge.py",
        'if text.count("|") != 6 + bool(moved) or not printable_ascii(text):',
        "if not printable_ascii(text):",
        _CHALLENGE + "test_different_fields_have_different_ids",
    ),
    Mutation(
        "T09",
        "core/challenge.py",
        "+ bool(moved) or not printable_ascii(text):",
        "+ bool(moved):",
        _CHALLENGE + "test_what_could_blur_the_slots_is_not_bound",
    ),
    Mutation(
        "T10",
        "core/challenge.py",
        "        if not challenge.expires:",
        "        if False:",
        _CHALLENGE + "test_no_challenge_is_issued_without_an_end",
    ),
    Mutation(
        "T11",
        "core/challenge.py",
        "any(len(key) < MIN_KEY_BYTES for key in self.keys)",
        "False",
        _CHALLENGE + "test_weak_secrets_are_refused",
    ),
    Mutation(
        "T11",
        "core/challenge.py",
        "        if any(len(set(key)) < 8 for key in self.keys):",
        "        if False:",
        _CHALLENGE + "test_weak_secrets_are_refused",
    ),
    Mutation(
        "F23",
        "core/challenge.py",
        "for keyed in self._keyed:",
        "for keyed in self._keyed[:1]:",
        _CHALLENGE + "test_a_rotation_keeps_what_is_out_there_valid",
    ),
    Mutation(
        "T11",
        "core/challenge.py",
        "    keys: tuple[bytes, ...] = field(repr=False)",
        "    keys: tuple[bytes, ...]",
        _CHALLENGE + "test_a_key_ring_shows_no_keys",
    ),
    Mutation(
        "T19",
        "core/challenge.py",
        "hmac.compare_digest(_mac(keyed, text), challenge.id)",
        "_mac(keyed, text) == challenge.id",
        _CHALLENGE + "test_ids_are_compared_in_constant_time",
    ),
    Mutation(
        "T09",
        "core/challenge.py",
        'and (value or name == "description")',
        "",
        _CHALLENGE + "test_an_empty_bound_value_is_refused",
    ),
    _off(
        "T40",
        "core/challenge.py",
        "    if len(members) != len(part.parameters):",
        _CHALLENGE + "test_a_parameter_twice_is_refused",
    ),
    _off(
        "T42",
        "core/challenge.py",
        "    if challenge.header is not None and challenge.header.lower() != ALTERNATE_HEADER.lower():",
        _CHALLENGE + "test_no_server_picks_the_header_of_the_credential",
    ),
    Mutation(
        "T40",
        "core/challenge.py",
        'f"{name}={quote(value)}"',
        "f'{name}=\"{value}\"'",
        _CHALLENGE + "test_no_value_ends_its_line",
    ),
    # Credentials
    Mutation(
        "T09",
        "core/credential.py",
        "        parse_object(raw)  # T09",
        "        pass",
        _CREDENTIAL + "test_a_member_twice_is_refused_at_any_depth",
    ),
    _off(
        "T09",
        "core/credential.py",
        '    if "" in (told.expires, told.digest, told.opaque, told.header):',
        _CREDENTIAL + "test_an_empty_member_is_refused",
    ),
    Mutation(
        "F28",
        "core/credential.py",
        "kept = len(echo) <= KEPT_ECHO_BYTES and",
        "kept =",
        _CREDENTIAL + "test_a_long_echo_is_not_kept",
    ),
    _off(
        "T41",
        "core/credential.py",
        "    if len(token) > MAX_WIRE_BYTES:",
        _CREDENTIAL + "test_a_long_credential_is_refused_unread",
    ),
    Mutation(
        "T38",
        "core/credential.py",
        'raise MalformedCredential("not the JSON object of a credential") from None',
        'raise MalformedCredential("not the JSON object of a credential")',
        "tests/core/test_names.py::test_no_error_drags_its_input_along",
    ),
    Mutation(
        "T38",
        "core/credential.py",
        "    payload: bytes = field(repr=False)",
        "    payload: bytes",
        _CREDENTIAL + "test_a_credential_shows_no_proof",
    ),
    _off(
        "T40",
        "core/credential.py",
        "    if len(plain) + len(moved) > 1:",
        _CREDENTIAL + "test_several_credentials_are_a_bad_request",
    ),
    _off(
        "T42",
        "core/credential.py",
        '    if named != (ALTERNATE_HEADER.lower() if moved else "authorization"):',
        _CREDENTIAL + "test_a_credential_stands_where_its_challenge_says",
    ),
    # Times and money
    Mutation(
        "T10",
        "core/instant.py",
        "(Z|[+-][0-9]{2}:[0-9]{2})",
        "(Z|[+-][0-9]{2}:[0-9]{2}|)",
        "tests/core/test_instant.py::test_a_time_that_needs_guessing_is_refused",
    ),
    Mutation(
        "T20",
        "money.py",
        "not str or not _UNITS.match(text):",
        "not str:",
        _MONEY + "test_loose_amounts_are_refused",
    ),
    Mutation(
        "T20", "money.py", "not str or not _DECIMAL.match(text):", "not str:", _MONEY + "test_loose_prices_are_refused"
    ),
    Mutation(
        "T20",
        "money.py",
        "-(-numerator * scale // denominator)",
        "numerator * scale // denominator",
        _MONEY + "test_never_less_than_the_price_and_less_than_a_unit_more",
    ),
]
