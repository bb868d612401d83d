"""Objects of the user's own code by import path: `package.module:Name`, or a file by its path, `/folder/file.py:Name`.

What goes wrong in that code is told with its line. `sys.path` stays as it is.
"""

import hashlib
import importlib
import sys
import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from embeddings_dagster.encoders.runtime import LOCK
from embeddings_dagster.encoders.source_code import ImportPath, find_file, parse, source_digest
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import NetworkSettings

PRIVATE = "_embeddings_own_"

# Modules imported by name here, and the digest of their sources then: Python imports them once, and never again.
_IMPORTED: dict[str, str] = {}


def code_digests(network: NetworkSettings) -> dict[str, str]:
    """sha256 of the sources of `architecture` and, where there is one, `preprocess`; no code is run.

    Raises:
        ModelError: one of them names no file or module.
    """
    named = {"architecture": network.architecture, "preprocess": network.preprocess}
    return {role: source_digest(parse(written)) for role, written in named.items() if written is not None}


def load_object(written: str) -> Any:
    """What an import path names.

    A file is run once for each state of its sources, under a name of its own, as a package whose folder is the file's:
    `from .helper import x` takes `helper.py` beside it.

    Raises:
        ModelError: there is no such file, module or attribute, or the code fails.
    """
    path = parse(written)
    digest = source_digest(path)
    with LOCK:
        module = _of_file(path.file, path, digest) if path.file is not None else _of_name(path, digest)
    found: Any = module
    for part in path.name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            has = sorted(name for name in vars(found) if not name.startswith("_")) if hasattr(found, "__dict__") else []
            raise ModelError(
                f"{written!r}: there is no {part!r} in it; it has {', '.join(has[:12]) or 'no public names'}"
            ) from None
    return found


def failure(error: BaseException, near: Path) -> str:
    """What `error` says and on which line: the last one in the folder of the file `near`, or else the last of all."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{type(error).__name__}: {error.msg}, {Path(error.filename).name} line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(near.parent)] or frames
    return f"{said}, {Path(own[-1].filename).name} line {own[-1].lineno}" if own else said


class _Loader(SourceFileLoader):
    """Compiles the source each time: bytecode on disk is known by its time to the second, and may be of before."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _of_file(file: Path, path: ImportPath, digest: str) -> ModuleType:
    name = PRIVATE + hashlib.sha256(f"{file}\n{digest}".encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    loader = _Loader(name, str(file))
    spec = spec_from_file_location(name, file, loader=loader, submodule_search_locations=[str(file.parent)])
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        for each in [each for each in sys.modules if each == name or each.startswith(name + ".")]:
            del sys.modules[each]
        raise ModelError(_refusal(path, error, file)) from error
    return module


def _of_name(path: ImportPath, digest: str) -> ModuleType:
    known = _IMPORTED.get(path.place)
    if known is not None and known != digest:
        raise ModelError(
            f"the code of {path.place!r} changed since this process imported it; restart the process, for Python "
            "imports a module once"
        )
    try:
        module = importlib.import_module(path.place)
    except (Exception, SystemExit) as error:
        raise ModelError(_refusal(path, error, find_file(path))) from error
    _IMPORTED[path.place] = digest
    return module


def _refusal(path: ImportPath, error: BaseException, file: Path) -> str:
    text = f"{path.written!r} cannot be imported ({failure(error, file)})"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and path.file is not None and (file.parent / f"{missing.partition('.')[0]}.py").is_file():
        return f"{text}; a file named by its path takes its neighbours as `from .{missing} import …`"
    if missing:
        return f"{text}; install the package that has it"
    return text
