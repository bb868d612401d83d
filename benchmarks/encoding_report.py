"""The figures as Markdown: every ratio beside what it is to reach, whether it does or not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import encoding_tables as tables
from encoding_figures import Record

HEAD = """\
# How fast it encodes

Made by `benchmarks/bench_encoding.py`; nothing here is written by hand. Every figure is that of a process of its own,
models loaded, everything imported and a first few pictures encoded before the clock starts. The contestants take turns,
round after round, so that a machine that slows down slows all. Figures are medians, lowest and highest in brackets; a
ratio is taken within each round. CPU-seconds are those of all threads and of all processes that were started.
"""
HOW = """\
## What is compared

- Pictures are drawn by `benchmarks/encoding_inputs.py`: PNG with transparency, like artwork, and JPEG, like
  photographs.
- Models have the architecture and size of the real ones and random weights. A cosine between two precisions says little
  where all vectors are alike, so what the vectors of unlike pictures have in common is given beside it. Weights that
  were trained have outliers that random ones have not, and int8 can lose more with them: the gate watches that in use.
- **The loop** is the script that people write: PIL opens a picture, what is transparent goes on white, transformers'
  processor, the model in float32, append, `np.save`. It is shown with one picture at a time, with batches, and with
  batches on one thread. Ratios are over whichever of these is best: over the one that takes the fewest CPU-seconds, and
  in wall time over the one that is done first.
- **sentence-transformers** gets lists of opened pictures, **Daft** decodes the files itself and has the model in a
  class. Both compute in float32, in batches as large as the loop's.
- **Ours** are named by precision, backend and preprocessing. The gate, which compares the first pictures of a process
  with float32, and the calibration of int8, on the pictures of the project, as in use, come before the clock starts;
  what they take is told below each table.
"""
COMMITTED = """\
## From committed pictures to committed vectors

Ours reads `rgb_images` from the store and commits embeddings to it, with hashes, checks and manifests; the others read
the same committed pictures as files, and leave one array.
"""
FILES = """\
## The whole graph, from files

Ours does all that it does for a new pile: lists and hashes the files, converts and measures each picture, makes a
thumbnail, encodes, and commits each of the three datasets. Discovery waits two seconds to see whether files change: it
is in the CPU-seconds, not in the wall time. The others read the same files once, and leave one array.
"""
LIBRARIES = """\
Never slower than sentence-transformers or Daft on the same work, in float32 and as the settings are by default:
"""
TRAINED = """\
## What a precision does to trained weights

The bundled models, small and trained, on renderings of the sample's pictures, which they can tell apart.
"""
NO_GPU = """\
## On a GPU

Not measured: there was none here. `python benchmarks/bench_encoding.py --device cuda` measures it; what of that path a
CPU can run is covered by the tests.
"""


def report(parts: Mapping[str, Record], command: str, notes: Sequence[str]) -> str:
    """All of it: `parts` by name, the command that makes it, and notes, such as what was left out."""
    found = [part for part in parts.values() if part["rounds"]]

    def of(section: str) -> list[Record]:
        return [part for part in found if part["section"] == section]

    lines = [HEAD, *machines(parts), "", f"    {command}", "", *(f"- {note}\n" for note in notes)]
    judged = [*of("committed"), *of("files")]
    lines += [
        "## What was to be reached",
        "",
        *tables.targets(judged),
        "",
        LIBRARIES,
        *tables.libraries(judged),
        "",
        HOW,
    ]
    for section, about in (("committed", COMMITTED), ("files", FILES)):
        if of(section):
            lines += [about, *_each(map(tables.encoding, of(section)))]
    if of("trained"):
        lines += [TRAINED, *tables.trained(of("trained"))]
    lines += _each(map(tables.orchestration, of("orchestration")))
    lines += _each(map(tables.again, of("again")))
    lines += _each(map(tables.memory, of("memory")))
    lines += _each(map(tables.gpu, of("gpu"))) if of("gpu") else [NO_GPU]
    return "\n".join(lines).rstrip() + "\n"


def _each(found: Iterable[Iterator[str]]) -> list[str]:
    return [line for lines in found for line in lines]


def machines(parts: Mapping[str, Record]) -> Iterator[str]:
    """A line for each machine or set of versions that parts were measured with."""
    seen: dict[str, list[str]] = {}
    for name, part in parts.items():
        found = part["machine"]
        packages = ", ".join(f"{package} {number}" for package, number in found["packages"].items())
        gpu = f"; {found['gpu']}" if "gpu" in found else ""
        line = (
            f"{found['processor']} ({found['machine']}, {found['instructions']}), {found['cores']} cores, torch on "
            f"{found['threads']} threads{gpu}; Python {found['python']}, {packages}"
        )
        seen.setdefault(line, []).append(name)
    for line, names in seen.items():
        yield line if len(seen) == 1 else f"- {', '.join(names)}: {line}"
