"""Frozen dataclasses that are made with every request, made in half the time.

    @quick
    @dataclass(frozen=True, slots=True)
    class Incoming: ...

A frozen dataclass sets each field by `object.__setattr__`, which looks the slot up by its name. Here every slot is set
by its own descriptor. Nothing else differs: it is as frozen as before.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """The same frozen dataclass with slots. Raises TypeError for one with `__post_init__`, or fields beside `init`."""
    told = fields(cls)  # type: ignore[arg-type]  # it is a dataclass
    if hasattr(cls, "__post_init__") or not all(one.init for one in told) or "__dict__" in dir(cls):
        raise TypeError(f"{cls.__name__} is no plain frozen dataclass with slots")
    names: dict[str, Any] = {"_MISSING": MISSING}
    asked: list[str] = ["self"]
    named: list[str] = []
    body: list[str] = []
    for one in told:
        names[f"_set_{one.name}"] = getattr(cls, one.name).__set__
        parameter, value = one.name, one.name
        if one.default_factory is not MISSING:
            names[f"_make_{one.name}"] = one.default_factory
            parameter = f"{one.name}=_MISSING"
            value = f"_make_{one.name}() if {one.name} is _MISSING else {one.name}"
        elif one.default is not MISSING:
            names[f"_default_{one.name}"] = one.default
            parameter = f"{one.name}=_default_{one.name}"
        (named if one.kw_only else asked).append(parameter)
        body.append(f"    _set_{one.name}(self, {value})")
    parameters = ", ".join([*asked, "*", *named] if named else asked)
    exec("\n".join([f"def __init__({parameters}):", *body]), names)  # noqa: S102 - as dataclasses does, of field names
    made = names["__init__"]
    made.__qualname__, made.__annotations__ = f"{cls.__qualname__}.__init__", vars(cls)["__init__"].__annotations__
    setattr(cls, "__init__", made)  # noqa: B010 - an assignment is an error to mypy
    return cls
