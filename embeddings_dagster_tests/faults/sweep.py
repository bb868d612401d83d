"""The sweep: a scenario is tried again and again, each time with another fault, until none is left to meet.

After each fault a reader must see the old state or the new one, the error must name the place and a remedy, nothing
unfinished may lie about, and a next try on a sound disk must end like one that never failed.
"""

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embeddings_dagster.errors import EmbeddingsError, StorageFailed
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster_tests.faults.faulty import Fault, FaultyFiles, faults
from embeddings_dagster_tests.faults.scenarios import CACHE, DATA, SCENARIOS, Scenario


@dataclass
class Swept:
    """How often each fault was met, by scenario, operation and error, and what was wrong after one."""

    met: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    survived: int = 0
    violations: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """Plain values: the sums, and the counts by each of the three."""
        sums: dict[str, dict[str, int]] = {"scenarios": {}, "operations": {}, "errors": {}}
        for names, count in sorted(self.met.items()):
            for by, name in zip(sums, names, strict=True):
                sums[by][name] = sums[by].get(name, 0) + count
        return {"faults": self.met.total(), "survived": self.survived, "violations": self.violations, **sums}


@dataclass
class Sweep:
    """One scenario in a folder."""

    name: str
    folder: Path

    def __post_init__(self) -> None:
        self._scenario: Scenario = SCENARIOS[self.name]
        self._template = self.folder / "template"
        self._template.mkdir(parents=True)
        self._scenario.prepare(self._template)
        self._old = self._scenario.says(self._template)
        self._known = set(verify(_sound(self._template)))  # what a world without pictures lacks
        place, files = self._try(None)
        self._new = self._scenario.says(place)
        self._known |= set(verify(_sound(place)))
        self.operations = files.done
        shutil.rmtree(place)

    def faults(self) -> list[Fault]:
        """All that this scenario can meet."""
        return list(faults(self.operations))

    def run(self, chosen: list[Fault], swept: Swept) -> None:
        """Meet each of the faults."""
        for fault in chosen:
            self._meet(fault, swept)

    def _try(self, fault: Fault | None) -> tuple[Path, FaultyFiles]:
        place = self.folder / "place"
        shutil.copytree(self._template, place)
        files = FaultyFiles(LocalFiles(place / DATA), fault)
        if fault is None:
            self._scenario.act(place, files)
        return place, files

    def _meet(self, fault: Fault, swept: Swept) -> None:
        place, files = self._try(fault)
        told: Exception | None = None
        try:
            self._scenario.act(place, files)
        except Exception as error:
            told = error
        if files.hit is None:
            swept.violations.append(f"{self.name}, {fault}: was not met; the scenario is not the same each time")
        else:
            swept.met[self.name, files.hit, errno.errorcode[fault.error]] += 1
            swept.survived += told is None
            what = f"{self.name}, {fault} ({files.hit})"
            swept.violations += [f"{what}: {problem}" for problem in self._problems(place, fault, told)]
        shutil.rmtree(place)

    def _problems(self, place: Path, fault: Fault, told: Exception | None) -> list[str]:
        says = self._scenario.says
        found = [*_wrongly_told(place, fault, told)]
        for what, check in (
            ("a reader then", lambda: _same(says(place), *((self._old, self._new) if told else (self._new,)))),
            ("left unfinished", lambda: _nothing(_unfinished(place))),
            ("verify then", lambda: _nothing(set(verify(_sound(place))) - self._known)),
            ("the next try", lambda: self._scenario.act(place, LocalFiles(place / DATA))),
            ("a reader after the next try", lambda: _same(says(place), self._new)),
            ("verify after the next try", lambda: _nothing(set(verify(_sound(place))) - self._known)),
        ):
            found += _problem(what, check)
        return found


def _problem(what: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except Exception as error:
        return [f"{what}: {type(error).__name__}: {error}"]
    return []


def _wrongly_told(place: Path, fault: Fault, told: Exception | None) -> list[str]:
    """What is wrong with the error that a person gets."""
    if told is None:
        return []
    text = str(told)
    wrong = []
    if not isinstance(told, EmbeddingsError):
        wrong.append(f"surfaced as a bare {type(told).__name__}: {text}")
    if not isinstance(told, StorageFailed):
        wrong.append(f"is no trouble of storage any more: {type(told).__name__}: {text}")
    if str(place / DATA) not in text or os.strerror(fault.error) not in text or "run again" not in text:
        wrong.append(f"does not say where, what and what to do: {text}")
    return wrong


def _same(says: Mapping[str, object], *allowed: Mapping[str, object]) -> None:
    """Each thing that is committed by itself is as one of these have it."""
    for name, value in says.items():
        if value not in [each[name] for each in allowed]:
            raise AssertionError(f"{name} is {value}, none of {[each[name] for each in allowed]}")


def _nothing(found: object) -> None:
    if found:
        raise AssertionError(str(found))


def _sound(place: Path) -> Store:
    return Store.open(place / DATA, place / CACHE)


def _unfinished(place: Path) -> list[str]:
    """Temporary files; those that no manifest names are `gc`'s, and are no temporary ones."""
    return [str(each.relative_to(place)) for each in place.rglob("*.tmp")]


def sweep(folder: Path, *, share: float, seed: int, names: list[str] | None = None) -> Swept:
    """Sweep the scenarios; `share` of the faults of each, drawn by `seed`, 1 for all."""
    swept = Swept()
    for name in names or list(SCENARIOS):
        each = Sweep(name, folder / name)
        every = each.faults()
        count = max(1, round(len(every) * share))
        chosen = random.Random(f"{seed} {name}").sample(every, count)
        each.run(sorted(chosen), swept)
        shutil.rmtree(folder / name)
    return swept
