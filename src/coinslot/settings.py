"""Typed settings: what payment methods publish, and programs fill in from flags, files and the environment.

A field that holds a secret says so in its metadata, `Meta(extra=SECRET)`. Programs then offer no flag for it, and no
repr of a `Settings` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from coinslot.errors import ConfigError, UsageError

T = TypeVar("T")
SECRET = {"secret": True}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The base of settings with secrets: they are in no repr. T38"""

    def __repr__(self) -> str:
        """Every field but the secrets."""
        hidden = _secrets(type(self))
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in hidden)  # T38
        return f"{type(self).__name__}({', '.join(shown)})"


@cache
def _secrets(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(one.name for one in msgspec.structs.fields(kind) if is_secret(one.type))


def is_secret(annotation: Any) -> bool:
    """Whether a field of this type holds a secret, as its metadata says, at whatever depth."""
    if get_origin(annotation) is Annotated:
        notes = (note for note in annotation.__metadata__ if isinstance(note, msgspec.Meta))
        if any((note.extra or {}).get("secret") for note in notes):
            return True
        return is_secret(annotation.__origin__)
    return any(is_secret(one) for one in get_args(annotation))


def setting(name: str, parse: Callable[..., T], value: object, **options: object) -> T:
    """A setting through its parser. Raises ConfigError that names the setting."""
    try:
        return parse(value, **options)
    except UsageError as error:
        raise ConfigError(f"{name}: {error}") from None


def settings(
    kind: type[msgspec.Struct], table: Mapping[str, Any], where: str, environ: Mapping[str, str] | None = None
) -> msgspec.Struct:
    """Typed settings from a configuration table. Raises ConfigError naming the field and the reason.

    With `environ`, the field `NAME_env` may name the variable that holds NAME, so that files need no secrets.
    """
    known = {one.encode_name for one in msgspec.structs.fields(kind)}
    given = dict(table) if environ is None else _from_environment(table, known, where, environ)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _from_environment(
    table: Mapping[str, Any], known: set[str], where: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    given = dict(table)
    for name in table:
        field = name.removesuffix("_env")
        if name in known or field == name or field not in known:
            continue
        if field in table:
            raise ConfigError(f"{where}: {field!r} and {name!r} are both set")
        value = environ.get(str(given.pop(name)))
        if not value:
            raise ConfigError(f"{where}: {name}: that environment variable is not set")
        given[field] = value
    return given
