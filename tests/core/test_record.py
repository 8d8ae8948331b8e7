"""What is made quickly is the same frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace

import pytest

from coinslot.core.record import quick


@dataclass(frozen=True, slots=True)
class Plain:
    """Every kind of field."""

    one: int
    two: str = "two"
    three: list[int] = field(default_factory=list, repr=False)
    four: int | None = None

    @property
    def double(self) -> int:
        """Computed."""
        return self.one * 2

    def plus(self, more: int) -> int:
        """Asked."""
        return self.one + more


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    """The same."""

    one: int
    two: str = "two"
    three: list[int] = field(default_factory=list, repr=False)
    four: int | None = None

    @property
    def double(self) -> int:
        """Computed."""
        return self.one * 2

    def plus(self, more: int) -> int:
        """Asked."""
        return self.one + more


GIVEN: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((1,), {}),
    ((1, "b"), {"four": 4}),
    ((), {"one": 1, "three": [3]}),
    ((1, "b", [], 4), {}),
]


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


@pytest.mark.parametrize("given", [((), {}), ((1, "b", [], 4, 5), {}), ((1,), {"six": 6})])
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
    with pytest.raises(AttributeError):
        one.one = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del one.one
    assert (replace(one, one=2), one) == (Quick(2), Quick(1))


def test_what_asks_dataclasses_is_answered_as_before() -> None:
    """Its fields, its members, its patterns, its methods, its name and its document."""
    one = Quick(1, four=4)
    assert [each.name for each in fields(one)] == [each.name for each in fields(Plain)]
    assert asdict(one) == asdict(Plain(1, four=4))
    match one:
        case Quick(first, four=last):
            assert (first, last, one.double, one.plus(2)) == (1, 4, 2, 3)
    assert (Quick.__name__, Quick.__qualname__, Quick.__doc__, Quick.__module__) == (
        "Quick", "Quick", "The same.", __name__
    )  # fmt: skip
    assert Quick.__annotations__ == Plain.__annotations__


def test_what_is_equal_is_found_by_its_hash() -> None:
    """As any frozen dataclass with such fields."""

    @quick
    @dataclass(frozen=True, slots=True)
    class Other:
        one: int
        two: str

    assert {Other(1, "a"): 7}[Other(1, "a")] == 7
    assert Other(1, "a") != Other(2, "a")


def test_its_own_equality_is_kept() -> None:
    """Where it brings one."""

    @quick
    @dataclass(frozen=True, slots=True, eq=False)
    class Loud:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Loud) and self.name.lower() == other.name.lower()

        __hash__ = None  # type: ignore[assignment]

    assert Loud("a") == Loud("A")
    with pytest.raises(TypeError):
        hash(Loud("a"))


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

    @dataclass(frozen=True, slots=True)
    class Unseen:
        one: int = field(compare=False)

    @dataclass(frozen=True, slots=True)
    class Named:
        one: int = field(kw_only=True)

    @dataclass(frozen=True)
    class Loose:
        one: int

    @dataclass(frozen=True, slots=True)
    class Longer(Plain):
        five: int = 5

    @dataclass(slots=True)
    class Thawed:
        one: int

    for odd in (More, Hidden, Unseen, Named, Loose, Longer, Thawed):
        with pytest.raises(TypeError):
            quick(odd)
