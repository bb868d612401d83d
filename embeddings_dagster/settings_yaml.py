"""YAML that remembers its lines, and validation errors that name them.

Only plain data is constructed (`yaml.SafeLoader`), and a key given twice is a mistake, not the last one wins.
"""

import difflib
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from embeddings_dagster.errors import SettingsError

MAX_BYTES = 2**20  # a settings file larger than this is some other file
MOST_VALUES = 100_000  # in one, its aliases written out: nine lines of nine aliases each would be a thousand million
LONGEST_NUMBER = 100  # characters; to read `1:59:59:…`, which is a number in YAML, takes time that grows as a square
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
UNUSABLE = re.compile("[\0\ud800-\udfff]")
MOST_SHOWN = 200  # characters of a value that is found wrong


@dataclass(frozen=True)
class Document:
    """Parsed YAML: its plain data, and the line of every key path in it."""

    name: str
    data: dict[str, Any]
    lines: Mapping[tuple[Hashable, ...], int]

    def line(self, path: tuple[Hashable, ...]) -> int:
        """The line of a key path, or of the nearest parent that is in the file; 0 when there is none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def where(self, path: tuple[Hashable, ...]) -> str:
        """`file:line` of a key path."""
        line = self.line(path)
        return f"{self.name}:{line}" if line else self.name


def parse_yaml(path: Path) -> Document:
    """Read a YAML mapping.

    Raises:
        SettingsError: no such file, not YAML, not a mapping, or a repeated key; the message names the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_BYTES} bytes, so not a settings file")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; write one with `embeddings init`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_size(node, path.name)
        lines = dict(_lines(node, (), path.name)) if node else {}
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{path.name}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name}: not valid YAML: {error}") from None
    except (AttributeError, LookupError, TypeError) as error:  # of PyYAML, where a tag such as !!bool does not fit
        raise SettingsError(f"{path.name}: not valid YAML: a tag (!!…) does not fit its value; remove it") from error
    if not isinstance(data, dict | None):
        raise SettingsError(f"{path.name}:1: expected `key: value` lines, found {type(data).__name__}")
    if any(not isinstance(key, str) for key in data or {}):
        raise SettingsError(f"{path.name}:1: the keys at the top must be words")
    return Document(path.name, data or {}, lines)


def _check_size(node: yaml.Node | None, name: str) -> None:
    """Refuse what a few lines of aliases, or of digits, would become; a chain of aliases that ends in itself, too.

    Raises:
        SettingsError: with its aliases written out the document has too many values, or one of them is endless.
    """
    sizes: dict[int, int] = {}
    entered: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in entered:
            raise SettingsError(f"{name}:{line}: an alias stands within what it names; write the value out")
        entered.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            found = 1
            if UNUSABLE.search(node.value):
                raise SettingsError(f"{name}:{line}: holds a character that no path and no text has; correct the value")
            if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
                raise SettingsError(f"{name}:{line}: a number of {len(node.value):,} characters; correct the value")
        else:
            parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            found = 1 + sum(map(size, parts))
        if found > MOST_VALUES:
            raise SettingsError(f"{name}:{line}: more than {MOST_VALUES:,} values, aliases written out; shorten it")
        sizes[id(node)] = found
        return found

    if node is not None:
        size(node)


def _lines(node: yaml.Node, path: tuple[Hashable, ...], name: str) -> Iterator[tuple[tuple[Hashable, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node.value, str) else repr(key_node.value)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise SettingsError(f"{name}:{line}: {'.'.join(map(str, (*path, key)))}: given twice; keep one")
            seen.add(key)
            yield (*path, key), line
            yield from _lines(value, (*path, key), name)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*path, position), value.start_mark.line + 1
            yield from _lines(value, (*path, position), name)


def explain(error: ValidationError, document: Document, model: type[BaseModel], env_prefix: str) -> list[str]:
    """One readable line for each mistake: where, which key, what is wrong, what to do."""
    lines: list[tuple[int, str]] = []
    for mistake in error.errors(include_url=False):
        path = _without_tags(mistake["loc"], document.data)
        variable = _variable(path, env_prefix)
        where = f"environment variable {variable}" if variable else document.where(path)
        key = ".".join(str(part) for part in path if part != "[key]")
        lines.append((document.line(path), f"{where}: {key}: {_remedy(mistake, path, model, document.data)}"))
    return [line for _, line in sorted(lines)]


def _without_tags(location: tuple[int | str, ...], data: Any) -> tuple[Hashable, ...]:
    """pydantic names the chosen member of a union inside the location; the file has no such key."""
    path: list[Hashable] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(data, Mapping) and part not in data and data.get("kind") == part and not last:
            continue
        path.append(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(path)


def _variable(path: tuple[Hashable, ...], prefix: str) -> str | None:
    name = prefix + "__".join(str(part) for part in path)
    return next((each for each in os.environ if each.upper() == name.upper()), None)


def _remedy(mistake: Any, path: tuple[Hashable, ...], model: type[BaseModel], data: Any) -> str:
    kind, given = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1], model, data)
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}" if known else "remove it"
        return f"unknown key; {hint}"
    if kind == "missing":
        return "is needed; add it"
    if kind == "union_tag_not_found":
        return f"'kind' is needed; add it, one of {_tags(path, model, data)}"
    if kind == "union_tag_invalid":
        tags = mistake["ctx"]["expected_tags"].replace("'", "").split(", ")
        close = difflib.get_close_matches(str(mistake["ctx"]["tag"]), tags, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"correct it to one of {', '.join(tags)}"
        return f"there is no kind {mistake['ctx']['tag']!r}; {hint}"
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    shown = repr(given)
    shown = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}…"
    return f"{message}, found {shown}; correct the value"


def _known_keys(path: tuple[Hashable, ...], model: type[BaseModel], data: Any) -> list[str]:
    """The keys a section accepts, found by walking the models' annotations along with the data; not those that the
    project sets itself, which are not shown (`repr`) either."""
    found = _models_at(path, model, data)
    return sorted(name for name, field in found[0].model_fields.items() if field.repr) if found else []


def _tags(path: tuple[Hashable, ...], model: type[BaseModel], data: Any) -> str:
    return ", ".join(tag for each in _models_at(path, model, data) for tag in _kinds(each))


def _models_at(path: tuple[Hashable, ...], model: type[BaseModel], data: Any) -> list[type[BaseModel]]:
    """The models that a section may be of: one, or each member of a union where the data does not say which."""
    models = [model]
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else None
        field = next((each.model_fields[str(part)] for each in models if str(part) in each.model_fields), None)
        if field is not None:  # else a name chosen by the user: the section below it is the value type of that dict
            models = list(_models_in(field.annotation))
        kind = data.get("kind") if isinstance(data, Mapping) else None
        models = [each for each in models if kind in _kinds(each)] or models
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()
