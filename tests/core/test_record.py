"""What is made quickly is the same frozen dataclass."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from coinslot.core.record import quick


@dataclass(frozen=True, slots=True)
class Plain:
    """Every kind of field."""

    one: int
    two: str = "two"
    three: list[int] = field(default_factory=list, repr=False)
    four: int | None = field(default=None, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    """The same."""

    one: int
    two: str = "two"
    three: list[int] = field(default_factory=list, repr=False)
    four: int | None = field(default=None, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Longer(Quick):
    """And more."""

    five: int = 5


GIVEN = [((1,), {}), ((1, "b"), {"four": 4}), ((), {"one": 1, "three": [3]})]


@pytest.mark.parametrize(("positional", "named"), GIVEN)
def test_it_is_made_like_any_other(positional: tuple[object, ...], named: dict[str, object]) -> None:
    """By position and by name, with defaults, and shows the same."""
    plain, fast = Plain(*positional, **named), Quick(*positional, **named)  # type: ignore[arg-type]
    assert repr(fast) == repr(plain).replace("Plain", "Quick")
    assert (fast.one, fast.two, fast.three, fast.four) == (plain.one, plain.two, plain.three, plain.four)
    assert fast == Quick(*positional, **named)  # type: ignore[arg-type]


def test_what_a_factory_makes_is_not_shared() -> None:
    """Each has its own."""
    one, other = Quick(1), Quick(1)
    one.three.append(1)
    assert other.three == []


@pytest.mark.parametrize("given", [((), {}), ((1, "b", [], 4), {}), ((1,), {"six": 6})])
def test_it_is_refused_like_any_other(given: tuple[tuple[object, ...], dict[str, object]]) -> None:
    """A field too few, too many, or unknown."""
    positional, named = given
    with pytest.raises(TypeError):
        Plain(*positional, **named)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Quick(*positional, **named)  # type: ignore[arg-type]


def test_it_is_as_frozen_as_before() -> None:
    """A change makes another one."""
    one = Quick(1)
    with pytest.raises(FrozenInstanceError):
        one.one = 2  # type: ignore[misc]
    assert (replace(one, one=2), one) == (Quick(2), Quick(1))


def test_a_class_that_inherits_has_all_fields() -> None:
    """Those of its base, too."""
    assert (Longer(1, "b", five=6, four=4).five, Longer(1).five, Longer(1, "b").two) == (6, 5, "b")


def test_a_class_that_does_more_is_refused() -> None:
    """What its making does beside would be skipped."""

    @dataclass(frozen=True, slots=True)
    class More:
        one: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True, slots=True)
    class Hidden:
        one: int = field(init=False, default=1)

    @dataclass(frozen=True)
    class Loose:
        one: int

    for odd in (More, Hidden, Loose):
        with pytest.raises(TypeError):
            quick(odd)
