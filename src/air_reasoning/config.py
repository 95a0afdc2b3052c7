"""One tree of settings per command: preset <- files <- environment <- ``-o``, then one validation.

Every layer is a plain dictionary, merged key by key; only the result is validated, so that a file
may hold half of a section and ``-o`` the other half. Where each value came from is kept beside it.

    resolved = load_config(RLConfig, files=[Path("rl.yaml")], overrides=["steps=20"])
    resolved.value.steps            # 20
    resolved.provenance["steps"]    # "-o"
"""

import difflib
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from air_reasoning.errors import ConfigError

Resume = Literal["auto", "never", "must"]
Display = Literal["rich", "plain", "json", "none"]
ENV_PREFIX = "AIR_"
BENCHMARKS_VARIABLE = "AIR_BENCHMARKS"  # a place, no setting: where files of benchmarks are
_OPEN = "must be set"


class Config(BaseModel):
    """Base of every settings class: unknown keys are refused, values never change.

    A string under a field is its description; it states the unit. Other settings classes nest as
    fields and become sections of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(kw_only=True, slots=True, frozen=True)
class Resolved(Generic[ConfigT]):
    """Validated settings and, for every dotted key, where its value came from.

    An origin is ``default``, ``preset``, ``NAME:LINE`` of a file, the name of the environment
    variable, or ``-o``.
    """

    value: ConfigT
    provenance: dict[str, str]


@dataclass(kw_only=True, slots=True, frozen=True)
class RunOptions:
    """What a long command was told on its command line apart from its settings.

    ``limit`` bounds the number of tasks (None: all). ``dry_run`` resolves, opens the data, probes
    the engine and the sandbox, prints counts and starts nothing.
    """

    run_dir: Path
    resume: Resume = "auto"
    overwrite: bool = False
    dry_run: bool = False
    display: Display = "plain"
    limit: int | None = None


def load_config(
    cls: type[ConfigT],
    *,
    files: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    preset: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Resolved[ConfigT]:
    """Merge the four layers, later ones win, and validate once.

    Args:
        cls: the settings class of the command.
        files: YAML, or TOML by its suffix; later files win.
        overrides: ``section.key=value``, the value read as YAML.
        preset: plain values below all files.
        env: where ``AIR_SECTION__KEY`` is looked up (pass ``os.environ``; None: nowhere).

    Raises:
        ConfigError: unreadable file, unknown key (with the nearest known one), or a bad value; the
            message names every wrong key and where it came from.
    """
    merged: dict[Any, Any] = {}
    origins: dict[str, str] = {}
    sections = {key for key, field in config_keys(cls).items() if _is_required_section(field)}

    def add(layer: Mapping[Any, Any], lines: Mapping[str, str] | str) -> None:
        _merge(merged, layer, lines, origins, sections)

    add(preset or {}, "preset")
    for path in files:
        add(*_read_file(path))
    for key, name, text in _environment(cls, env or {}):
        add(_nested(key, _parse_value(text, name)), name)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not (separator and key.strip()):
            raise ConfigError(f"-o {override}: expected section.key=value")
        add(_nested(key.strip(), _parse_value(text, f"-o {key}")), "-o")
    try:
        value = cls.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(cls, error, origins)) from None
    return Resolved(
        value=value,
        provenance={key: _origin(key, origins) or "default" for key in flat_values(value)},
    )


def draft_config(
    cls: type[ConfigT],
    *,
    files: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Resolved[ConfigT]:
    """``load_config`` for showing: a text or path that must be set and is not may stay open.

    Such a key has the origin ``must be set`` and is rendered as a comment.

    Raises:
        ConfigError: as ``load_config``, also for a missing value of another type.
    """
    preset: dict[str, Any] = {}
    for key, field in config_keys(cls).items():
        if field.is_required() and not _section(field.annotation):
            _merge(preset, _nested(key, "..."), "", {}, set())
    resolved = load_config(cls, preset=preset, files=files, overrides=overrides, env=env)
    origins = resolved.provenance.items()
    provenance = {key: _OPEN if origin == "preset" else origin for key, origin in origins}
    return Resolved(value=resolved.value, provenance=provenance)


def config_keys(cls: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every dotted key of a settings class, sections included, in the order of the file."""
    keys: dict[str, FieldInfo] = {}
    for name, field in cls.model_fields.items():
        keys[prefix + name] = field
        if section := _section(field.annotation):
            keys |= config_keys(section, f"{prefix}{name}.")
    return keys


def flat_values(config: Config) -> dict[str, Any]:
    """Dotted key -> plain JSON value, sections opened: what a run's fingerprint is made of."""
    flat: dict[str, Any] = {}
    plain = config.model_dump(mode="json")
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            flat |= {f"{name}.{key}": inner for key, inner in flat_values(value).items()}
        else:
            flat[name] = plain[name]
    return flat


def config_schema(cls: type[Config]) -> dict[str, Any]:
    """The JSON schema of a settings class."""
    return cls.model_json_schema()


def render_config(resolved: Resolved[ConfigT]) -> str:
    """YAML text of all values; above each its description, beside it where it came from.

    Reading the text back with ``load_config`` gives equal settings.
    """
    return "\n".join(_render(resolved.value, resolved.provenance, prefix="")) + "\n"


def _render(config: Config, provenance: Mapping[str, str], prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    plain = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        yield from textwrap.wrap(
            field.description or "",
            width=96,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
        )
        if isinstance(value, Config):
            # A class without fields must stay a mapping when it is read back.
            yield f"{indent}{name}:" if type(value).model_fields else f"{indent}{name}: {{}}"
            yield from _render(value, provenance, f"{prefix}{name}.")
            continue
        if provenance.get(prefix + name) == _OPEN:
            yield f"{indent}# {name}:  # {_OPEN}"
            continue
        dumped = f"{name}: {_flow(plain[name])}"
        if "\n" not in dumped:
            dumped += f"  # {provenance.get(prefix + name, 'default')}"
        yield textwrap.indent(dumped, indent)


def _flow(value: Any) -> str:
    """One YAML value on one line where that is possible."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    return text.removesuffix("...\n").rstrip("\n")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings class that a field holds, also behind ``| None``."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _is_required_section(field: FieldInfo) -> bool:
    return bool(_section(field.annotation)) and NoneType not in get_args(field.annotation)


def _merge(
    into: dict[Any, Any],
    layer: Mapping[Any, Any],
    lines: Mapping[str, str] | str,
    origins: dict[str, str],
    sections: set[str],
    prefix: str = "",
) -> None:
    """Put ``layer`` over ``into`` key by key; ``lines`` says where each dotted key was written."""
    for key, value in layer.items():
        path = f"{prefix}{key}"
        if value is None and path in sections:
            continue  # a section of which every line is commented out
        origin = lines if isinstance(lines, str) else lines.get(path, "file")
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            inner = cast(dict[Any, Any], into[key])
            origins[path] = origin
            branch = cast(Mapping[Any, Any], value)
            _merge(inner, branch, lines, origins, sections, f"{path}.")
        else:
            into[key] = value
            origins[path] = origin


def _nested(key: str, value: Any) -> dict[Any, Any]:
    """``"a.b", 1`` -> ``{"a": {"b": 1}}``."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _parse_value(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {text!r} is not a YAML value ({error})") from None


def _read_file(path: Path) -> tuple[Mapping[Any, Any], Mapping[str, str] | str]:
    """The content of a settings file and where each of its dotted keys stands."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read this settings file ({error})") from None
    lines: Mapping[str, str] | str = path.name
    try:
        if path.suffix == ".toml":
            data: Any = tomllib.loads(text)
        else:
            lines = dict(_yaml_lines(cast(Any, yaml).compose(text), path.name))
            data = yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not valid {path.suffix or 'YAML'}: {error}") from None
    if data is None:
        return {}, lines
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(data).__name__}")
    return cast(dict[Any, Any], data), lines


def _yaml_lines(node: yaml.Node | None, name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    pairs = cast(list[tuple[yaml.Node, yaml.Node]], node.value)
    for key, value in pairs:
        word, line = str(key.value), int(key.start_mark.line) + 1
        if word in seen:
            raise ConfigError(f"{name}:{line}: {prefix}{word} is written twice; keep one")
        seen.add(word)
        yield f"{prefix}{word}", f"{name}:{line}"
        yield from _yaml_lines(value, name, f"{prefix}{word}.")


def _environment(cls: type[BaseModel], env: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(dotted key, variable, text) of every ``AIR_`` variable."""
    known = {ENV_PREFIX + key.upper().replace(".", "__"): key for key in config_keys(cls)}
    for name in sorted(n for n in env.keys() - {BENCHMARKS_VARIABLE} if n.startswith(ENV_PREFIX)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; unset it"
            raise ConfigError(f"{name}: no setting of {cls.__name__} has this name{hint}")
        yield known[name], name, env[name]


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Where ``key``, or the nearest key above it, was written."""
    while key not in origins and "." in key:
        key = key.rpartition(".")[0]
    return origins.get(key)


def _explain(cls: type[BaseModel], error: ValidationError, origins: Mapping[str, str]) -> str:
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or cls.__name__
        origin = _origin(key, origins)
        where = f"{key} (from {origin})" if origin else key
        match problem["type"]:
            case "extra_forbidden":
                lines.append(f"{where}: unknown key{_did_you_mean(key, config_keys(cls))}")
            case "missing":
                lines.append(f"{key}: must be set, in a file or with -o {key}=...")
            case _:
                given = "" if key == cls.__name__ else f", got {problem['input']!r}"
                lines.append(f"{where}: {problem['msg']}{given}")
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} settings are wrong:\n  " + "\n  ".join(lines)


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    """The nearest known key: the same name in another section, else the closest spelling."""
    last = key.rpartition(".")[2]
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    near = elsewhere or difflib.get_close_matches(key, known, n=1)
    if not near:
        words = {name.rpartition(".")[2]: name for name in known}
        near = [words[word] for word in difflib.get_close_matches(last, words, n=1)]
    return f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(known)}"
