"""The commands that are killed, and at which of the named steps each of them can be."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embeddings_dagster.cli.app import app
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store
from embeddings_dagster.store.steps import STEPS
from embeddings_dagster_tests.torture.audit import FORGOTTEN
from embeddings_dagster_tests.torture.inputs import Inputs

FIRST, MOST = 1, 24  # how far into a run a step is killed at: the n-th time it is reached


@dataclass(frozen=True)
class Command:
    """`codes`: what it may end with where nobody kills it. `looks`: it waits for files to settle. `batch`:
    that which it is about."""

    kind: str
    argv: tuple[str, ...]
    program: str = "embeddings"
    environment: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (0,)
    looks: bool = False
    batch: str = ""


# By the beginning of a step's name; all others are steps of a run.
OTHERS = {"export:": "export", "erase:": "forget", "analysis:": "analyse", "gc:": "gc"}
SHARED = {  # steps that other commands than `run` come by, too
    "compact": ("segment:written", "create:temporary", "create:linked", "manifest:created", "write:begun",
                "write:temporary", "write:published"),
    "analyse": ("write:begun", "write:published", "create:linked", "manifest:created"),
    "forget": ("ledger:written", "create:temporary", "manifest:created", "batch:done", "catalogue:written",
               "deletions:written"),
    "dagster": ("part:written", "failures:written", "manifest:created", "batch:done", "catalogue:written"),
}  # fmt: skip


class Commands:
    """Draws commands for one world."""

    def __init__(self, root: Path, chance: random.Random, inputs: Inputs) -> None:
        self._root, self._chance, self._inputs = root, chance, inputs
        self._reach: dict[tuple[str, str], int] = {}
        self.has_gc = any(each.name == "gc" or getattr(each.callback, "__name__", "") == "gc"
                           for each in app.registered_commands)  # fmt: skip

    def draw(self) -> Command:
        """One to be killed."""
        if self._inputs.forgettable and FORGOTTEN in self._store().sources() and self._chance.random() < 0.5:
            return self.forget()
        kinds = {"run": 60, "compact": 4, "export": 7, "analyse": 4, "dagster": 3, "gc": 5 if self.has_gc else 0}
        (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
        return {"run": self._some_run, "compact": self.compact, "export": self.export, "analyse": self.analyse,
                "dagster": self._dagster, "gc": self.gc}[kind]()  # fmt: skip

    def _store(self) -> Store:
        settings = load_settings(self._root / "embeddings.yaml")
        return Store.open(settings.data_root, settings.cache_root)

    def step(self, command: Command, hit: Counter[str]) -> tuple[str, int] | None:
        """A step of this command, of those that were hit least often, and the how manieth time it is reached."""
        own = [step for step in STEPS if next((kind for start, kind in OTHERS.items() if step.startswith(start)), "run")
               == command.kind]  # fmt: skip
        names = [*own, *SHARED.get(command.kind, ())]
        if not names:
            return None
        few = min(hit[name] for name in names)
        name = self._chance.choice([each for each in names if hit[each] <= few + 2])
        return name, self._chance.randint(1, self._reach.get((command.kind, name), FIRST))

    def reached(self, command: Command, step: tuple[str, int], *, killed: bool) -> None:
        """Go further into the next run where this one got as far, else less far."""
        name, time = step
        now = self._reach.get((command.kind, name), FIRST)
        self._reach[command.kind, name] = min(now + 2, MOST) if killed else max(1, time - 1)

    def run(self, *more: str) -> Command:
        """`embeddings run` over everything."""
        return Command("run", ("run", "--allow-removals", *more), looks=True)

    def _some_run(self) -> Command:
        how = self._chance.random()
        if how < 0.06:
            return self.run("--retry-failed")
        if how < 0.10:
            return self.run("--force", "--yes")
        if how < 0.2:
            return self.run("--source", self._chance.choice(["art", "shop", "fashion", "comics"]))
        return self.run()

    def compact(self) -> Command:
        return Command("compact", ("index", "compact", "--json"))

    def analyse(self) -> Command:
        which = self._chance.choice(["duplicates", "map"])
        argv = ("duplicates", "--refresh") if which == "duplicates" else ("map", "--out", "out.map.png")
        return Command("analyse", (*argv, "--json"), codes=(0, 1))

    def forget(self) -> Command:
        return Command("forget", ("forget", "old", "--yes", "--json"), codes=(0, 1))

    def gc(self, keep: int | None = None) -> Command:
        """Of everything that is not among the newest so many versions, however young it is."""
        keep = self._chance.randint(1, 3) if keep is None else keep
        return Command("gc", ("gc", "--older-than", "0s", "--keep", str(keep), "--json"))

    def export(self) -> Command:
        """A format, a model, some sources."""
        form = self._chance.choice(["npy", "json", "faiss"])
        model = self._chance.choice(["clip", "dino"])
        source = self._chance.choice(["art", "shop", "fashion"])
        argv = ("export", form, "--source", source, "--model", model, "--all-pictures", "--json")
        return Command("export", (*argv, "--out", f"out/{form}-{source}-{model}"), codes=(0, 1))

    def _dagster(self) -> Command:
        """Dagster's own front door: the job `everything` for one batch."""
        settings = load_settings(self._root / "embeddings.yaml")
        batches = self._store().batches("raw_images")
        known = [batch for batch in batches if batch.partition("__")[0] in settings.sources]
        batch, settings_file = self._chance.choice(known), str(self._root / "embeddings.yaml")
        where = {"EMBEDDINGS_SETTINGS": settings_file, "DAGSTER_HOME": str(self._root / ".dagster")}
        tags = json.dumps({"dagster/partition": batch})
        argv = ("job", "execute", "-m", "embeddings_dagster.definitions", "-j", "everything", "--tags", tags)
        return Command("dagster", argv, "dagster", where, codes=(0, 1), looks=True, batch=batch)

    def afterwards(self, sources: set[str]) -> Iterator[Command]:
        """What is done now and then when everything is right; `sources`: those that have vectors to export."""
        for act, how_often in ((self.compact, 0.2), (self.analyse, 0.15), (self.export, 0.6)):
            command = act()
            asked = command.argv[3] if command.kind == "export" else ""
            if self._chance.random() < how_often and (not asked or asked in sources):
                yield command
