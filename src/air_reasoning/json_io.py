r"""Dataclasses to JSON and back, and files of one JSON value a line.

    data = to_json(task)                                   # plain dictionaries and lists
    task = from_json(Task, data, where="tasks.jsonl:3")    # checked; errors name file, line, key

NaN and infinities have no JSON form and are written as null. Lone surrogates, which a model's
cell can print, are written as their escape (``\ud800`` as six characters).
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import orjson

from air_reasoning.errors import DataError

T = TypeVar("T")
Decoder = Callable[[Any], Any]
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class _MismatchError(Exception):
    """A value is not what its type says; the path grows while the error travels outward."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def inside(self, step: str) -> "_MismatchError":
        joint = "" if not self.path or self.path.startswith("[") else "."
        return _MismatchError(str(self), f"{step}{joint}{self.path}")


def to_json(obj: Any) -> Any:
    """``obj`` as plain dictionaries, lists, text, numbers, booleans and None."""
    return orjson.loads(dump_line(obj))


def dump_line(obj: Any) -> bytes:
    """``obj`` as compact JSON in UTF-8 on one line, without a line feed.

    Raises:
        TypeError: something in it has no JSON form (a tensor, say), which is a bug of the caller.
    """
    try:
        return orjson.dumps(obj, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return orjson.dumps(_without_surrogates(obj), default=_plain, option=_OPTIONS)


def dump_pretty(obj: Any) -> bytes:
    """``obj`` as JSON that people read, two spaces a level, ending with a line feed."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(to_json(obj), option=option)


def parse_json(data: bytes, where: str) -> Any:
    """The JSON value in ``data``. Raises DataError naming ``where``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error}); mend or remove it") from None


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises DataError if it is absent or not JSON."""
    return parse_json(_read_bytes(path), str(path))


def read_jsonl(path: Path, *, torn_end: bool = False) -> Iterator[tuple[str, Any]]:
    """(``file:line``, value) of every line that is not blank.

    Args:
        path: the file.
        torn_end: leave out a last line without line feed, which a crash may have cut.

    Raises:
        DataError: no such file, or a line that is not JSON.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if torn_end and not line.endswith(b"\n"):
                return
            if line.strip():
                where = f"{path}:{number}"
                yield where, parse_json(line, where)


def from_json(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass ``cls`` from plain JSON, checking every key and type.

    Args:
        cls: a dataclass of text, numbers, Literals, enumerations, lists, dictionaries and others.
        data: what ``to_json`` gave. Keys with a default may be absent, unknown keys are refused.
        where: ``file:line`` for messages.

    Raises:
        DataError: ``where``, the key (as ``segments[2].kind``), what was expected, what was found.
    """
    try:
        return cast(T, _decoder(cls)(data))
    except _MismatchError as error:
        key = f"{error.path}: " if error.path else ""
        raise DataError(f"{where}: {key}{error}") from None


@cache
def _decoder(kind: Any) -> Decoder:
    """The function that checks and builds values of one type."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(cast(type, kind))
    if origin is Literal:
        return _choice_decoder({option: option for option in args})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice_decoder({member.value: member for member in kind})
    if origin in (Union, UnionType):
        inner = _decoder(next(option for option in args if option is not NoneType))
        return lambda value: None if value is None else inner(value)
    if origin in (list, tuple):
        return _list_decoder(args[0], cast(Callable[[Any], Any], origin))
    if origin is dict:
        return _dict_decoder(args[1])
    return _scalar_decoder(kind)


def _dataclass_decoder(cls: type) -> Decoder:
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)
    decoders = {field.name: _LazyDecoder(hints[field.name]) for field in fields}
    missing = dataclasses.MISSING
    required = {f.name for f in fields if f.default is missing and f.default_factory is missing}

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(_expected(f"an object with the keys of {cls.__name__}", value))
        data = cast(dict[str, Any], value)
        built: dict[str, Any] = {}
        for name, inner in data.items():
            if name not in decoders:
                near = difflib.get_close_matches(name, decoders, n=1) or [", ".join(decoders)]
                raise _MismatchError(f"unknown key; did you mean {near[0]}?", name)
            try:
                built[name] = decoders[name](inner)
            except _MismatchError as error:
                raise error.inside(name) from None
        if absent := required - built.keys():
            raise _MismatchError(f"{cls.__name__} needs the key {', '.join(sorted(absent))}")
        return cls(**built)

    return decode


class _LazyDecoder:
    """Looks its decoder up at the first use, so that types may mention themselves."""

    __slots__ = ("decode", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.decode: Decoder | None = None

    def __call__(self, value: Any) -> Any:
        if self.decode is None:
            self.decode = _decoder(self.kind)
        return self.decode(value)


def _list_decoder(kind: Any, build: Callable[[Any], Any]) -> Decoder:
    inner = _decoder(kind)

    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise _MismatchError(_expected("a list", value))
        items = cast(list[Any], value)
        if kind is int and all(type(item) is int for item in items):
            return build(items)  # token ids, by the thousand
        built: list[Any] = []
        for index, item in enumerate(items):
            try:
                built.append(inner(item))
            except _MismatchError as error:
                raise error.inside(f"[{index}]") from None
        return build(built)

    return decode


def _dict_decoder(kind: Any) -> Decoder:
    inner = _decoder(kind)

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(_expected("an object", value))
        built: dict[str, Any] = {}
        for name, item in cast(dict[str, Any], value).items():
            try:
                built[name] = inner(item)
            except _MismatchError as error:
                raise error.inside(name) from None
        return built

    return decode


def _choice_decoder(options: dict[Any, Any]) -> Decoder:
    def decode(value: Any) -> Any:
        if isinstance(value, str | int) and value in options:
            return options[value]
        raise _MismatchError(_expected(f"one of {', '.join(map(str, options))}", value))

    return decode


def _scalar_decoder(kind: Any) -> Decoder:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if kind not in names:
        raise TypeError(f"json_io does not know how to read {kind}")

    def decode(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise _MismatchError(_expected(names[kind], value))

    return decode


def _expected(what: str, value: Any) -> str:
    text = repr(value)
    return f"expected {what}, found {text if len(text) <= 60 else text[:60] + '...'}"


def _plain(value: Any) -> Any:
    """What orjson does not know by itself."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(cast(set[Any], value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _without_surrogates(value: Any) -> Any:
    """``value`` with every text made valid UTF-8."""
    match value:
        case Enum():
            return value
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            items = cast(dict[Any, Any], value).items()
            return {_without_surrogates(key): _without_surrogates(inner) for key, inner in items}
        case list() | tuple():
            return [_without_surrogates(item) for item in cast(list[Any], value)]
        case _ if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: _without_surrogates(getattr(value, name)) for name in names}
        case _:
            return value


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from None
