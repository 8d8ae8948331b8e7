"""Settings say which of their fields are secret, once; see also the settings of each payment method."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from coinslot.errors import ConfigError
from coinslot.money import parse_units
from coinslot.settings import SECRET, Settings, is_secret, setting


class Door(Settings, frozen=True, kw_only=True):
    """Three fields, two of them secret, one of these below its type."""

    name: str
    key: Annotated[str, Meta(description="opens it", extra=SECRET)]
    spare: tuple[Annotated[str, Meta(extra=SECRET)], ...] = ()


@pytest.mark.guard("T38")
def test_no_secret_is_shown_wherever_it_says_that_it_is_one() -> None:
    """Neither a field's own metadata nor that of its parts is passed over; what is no secret is shown."""
    made = Door(name="cellar", key="open sesame", spare=("open wheat",))
    assert repr(made) == str(made) == f"{made}" == "Door(name='cellar')"
    assert [is_secret(one.type) for one in msgspec.structs.fields(Door)] == [False, True, True]
    assert is_secret(Annotated[str, Meta(extra=SECRET)] | None)


def test_a_setting_that_cannot_be_read_is_named() -> None:
    """With the reason that its parser gave."""
    assert setting("units", parse_units, "7") == 7
    with pytest.raises(ConfigError, match=r"^units: "):
        setting("units", parse_units, "-7")
