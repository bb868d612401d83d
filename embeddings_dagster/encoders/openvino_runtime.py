"""OpenVINO and NNCF, imported late and on their own terms never: they report to nobody and print nothing.

Both look for the package `openvino_telemetry`, and where they find it they tell their makers of every import and every
conversion. Here they do not find it, unless the application has imported OpenVINO itself before.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

from embeddings_dagster.encoders.runtime import LOCK, runtime
from embeddings_dagster.errors import MissingExtra

TELEMETRY = "openvino_telemetry"
EXTRA = "openvino"


def openvino(purpose: str) -> Any:
    """The module `openvino`, imported on first use.

    Raises:
        MissingExtra: it is not installed; the message says that `purpose` needs it.
    """
    with LOCK:
        _unlisted()
        try:
            import openvino
        except ImportError as error:
            raise MissingExtra(EXTRA, "openvino", purpose) from error
        return openvino


def nncf(purpose: str) -> Any:
    """The module `nncf`, imported on first use; raises as `openvino` does."""
    with LOCK:
        _unlisted()
        logger_class = logging.getLoggerClass()
        try:
            import nncf
        except ImportError as error:
            raise MissingExtra(EXTRA, "nncf", purpose) from error
        finally:
            logging.setLoggerClass(logger_class)  # it makes its own that of the whole process
        # Its own set_log_level changes the handlers too, which others may share.
        logging.getLogger("nncf").setLevel(logging.ERROR)
        return nncf


def _unlisted() -> None:
    """Make `import openvino_telemetry` fail, as where it is not installed: both packages have a stub for that."""
    modules = cast(dict[str, ModuleType | None], sys.modules)
    modules.setdefault(TELEMETRY, None)


@contextmanager
def without_tracer_warnings() -> Iterator[None]:
    """Silence what is said of tracing: that tests of a picture's size become constants, as they should; that the tracer
    will go one day; and what transformers says of an attribute when OpenVINO looks at all there are."""
    tracer_warning = runtime().torch.jit.TracerWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tracer_warning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Silence the progress bars of NNCF, which go to the console that rich has for everybody; ours has its own."""
    import rich

    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet
