"""The source files behind an import path, and their digest: found and read, never run, and torch is not loaded.

What counts is the file that is named, and what it imports from its own package. An installed package is taken as it
is: of a module in site-packages that one file counts.
"""

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from embeddings_dagster.errors import ModelError

OWN = "own"  # what the folder of a file that is named by its path is called here, as the package it stands for


@dataclass(frozen=True)
class ImportPath:
    """`package.module:Name`, or `/folder/file.py:Name`; `name` may be that of an attribute of an attribute."""

    written: str
    place: str
    name: str

    @property
    def file(self) -> Path | None:
        """The file, where it is named by its path. Raises ModelError: it is in the folder of a user who is not here."""
        if not self.place.endswith(".py") and "/" not in self.place and "\\" not in self.place:
            return None
        try:
            return Path(self.place).expanduser().absolute()
        except (RuntimeError, ValueError):  # no such user, and nobody can be called that
            user = self.place.partition("/")[0]
            raise ModelError(f"{self.written!r} names no file: there is no user {user!r}; correct the path") from None


@dataclass(frozen=True)
class _Source:
    """A module by its full name, and its file."""

    module: str
    path: Path
    package: bool

    @property
    def home(self) -> str:
        """The package that its relative imports start from."""
        return self.module if self.package else self.module.rpartition(".")[0]


def parse(written: str) -> ImportPath:
    """The two parts of an import path."""
    place, _, name = written.rpartition(":")
    return ImportPath(written, place, name)


def source_digest(path: ImportPath) -> str:
    """sha256 of the sources behind `path`, the same wherever they lie and whatever the first of them is called.

    Raises:
        ModelError: there is no such file or module.
    """
    first, *others = _sources(path)
    own = _sha256(first.path)
    if not others:
        return own
    named = sorted((each.module.partition(".")[2], _sha256(each.path)) for each in others)
    return hashlib.sha256(json.dumps([own, named]).encode()).hexdigest()


def find_file(path: ImportPath) -> Path:
    """The file that `path` names, or that the module it names is in; raises as `source_digest` does."""
    return _first(path).path


def _sha256(path: Path) -> str:
    return hashlib.sha256(_read(path)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"the source file {str(path)!r} cannot be read ({error}); correct the path") from error


def _first(path: ImportPath) -> _Source:
    if path.file is not None:
        if not path.file.is_file():
            raise ModelError(f"{path.written!r} names no file: there is no {str(path.file)!r}; correct the path")
        return _Source(OWN, path.file, package=True)
    found = _module(path.place)
    if found is None:
        raise ModelError(
            f"{path.written!r} names no module: Python finds no {path.place!r} here; install its package, or name the "
            "file by its path (./file.py:Name)"
        )
    return found


def _sources(path: ImportPath) -> list[_Source]:
    """What is named, then what it imports from its own package, and what that imports, each once."""
    first = _first(path)
    found = {first.path: first}
    waiting = [] if _installed(first.path) else [first]
    while waiting:
        source = waiting.pop()
        for name in _imported(source):
            other = _beside(path.file, name) if path.file is not None else _module(name)
            if other is not None and other.path not in found:
                found[other.path] = other
                waiting.append(other)
    return list(found.values())


def _installed(path: Path) -> bool:
    return any(path.is_relative_to(sysconfig.get_path(each)) for each in ("purelib", "platlib", "stdlib"))


def _imported(source: _Source) -> Iterator[str]:
    """Full names of the modules of its own package that a source imports, wherever in it; perhaps of some more."""
    try:
        tree = ast.parse(_read(source.path))
    except (SyntaxError, ValueError):  # loading it will say what is wrong, with the line
        return
    own = source.module.partition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = _start(source, node)
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name == own or name.startswith(own + "."))


def _start(source: _Source, node: ast.ImportFrom) -> str:
    """The full name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    parents = source.home.split(".")
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _beside(file: Path, name: str) -> _Source | None:
    """The module `own.<name>` in the folder of `file`."""
    if name == OWN:
        return None  # the file itself
    base = file.parent.joinpath(*name.split(".")[1:])
    for path, package in ((base / "__init__.py", True), (base.with_name(base.name + ".py"), False)):
        if path.is_file():
            return _Source(name, path, package)
    return None


def _module(name: str) -> _Source | None:
    """Where Python would import the module `name` from, which `importlib.util.find_spec` tells only by importing its
    parents."""
    *parents, _ = name.split(".")
    locations: Sequence[str] | None = None
    for end in range(1, len(parents) + 1):
        locations = _folders(".".join(parents[:end]), locations)
        if not locations:
            return None
    spec = _spec(name, locations)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return _Source(name, Path(spec.origin), spec.submodule_search_locations is not None)


def _folders(package: str, locations: Sequence[str] | None) -> list[str]:
    """The folders of a package, whose parent's are `locations`; none where it is no package."""
    spec = _spec(package, locations)
    if spec is not None:
        return list(spec.submodule_search_locations or ())
    last = package.rpartition(".")[2]
    return [str(folder) for folder in (Path(each) / last for each in locations or ()) if folder.is_dir()]


def _spec(name: str, locations: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, locations, None)
        except KeyError:  # a folder without __init__.py: Python looks its parent up among the imported ones
            return None
        if spec is not None:
            return spec
    return None
