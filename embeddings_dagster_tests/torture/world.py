"""A world: one project that is run, killed, changed and looked at, from one seed.

What is drawn is the same for the same seed; where exactly a random kill strikes is not, for that is a moment of real
time. `history` says what was done, in order.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.looks import APART, SEEN, remembered_looks
from embeddings_dagster.stages.opened import opened_source
from embeddings_dagster.store.steps import KILL_AT
from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.shop import Shop
from embeddings_dagster_tests.torture import exported, history, litter
from embeddings_dagster_tests.torture.audit import Audit, Held, grouped
from embeddings_dagster_tests.torture.commands import Command, Commands
from embeddings_dagster_tests.torture.expected import Entry, expected
from embeddings_dagster_tests.torture.golden import Golden
from embeddings_dagster_tests.torture.inputs import Inputs
from embeddings_dagster_tests.torture.reckoning import Reckoning
from embeddings_dagster_tests.torture.violation import Violation, processes_of, require
from embeddings_dagster_tests.torture.warm import Child, Started, Warm

LONGEST = 300.0  # seconds; what takes longer hangs
ORPHANS = 15.0  # seconds in which the processes of one that was killed must be gone
COLD = 0.02  # of all runs: those whose process is started from nothing
AT_STEPS = 0.6  # of all kills; the others strike at any moment
USUAL = 0.9  # of what a command took when it was let be; less to do takes less
UNSEEN = 0.1  # of all runs: those that have to wait for a second look themselves


@dataclass
class Tally:
    """What was done in all worlds. `steps`: kills by named step, `kinds`: by command; `late`: those that came when the
    process had ended by itself."""

    kills: int = 0
    late: int = 0
    moments: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    worlds: int = 0
    litter: Counter[str] = field(default_factory=Counter)


class World:
    """One project below `root`."""

    def __init__(self, root: Path, seed: int, warm: Warm, golden: Golden, shop: Shop, tally: Tally) -> None:
        self.root, self.seed, self.tally = root, seed, tally
        self._warm = warm
        self._chance = random.Random(seed)
        self.history: list[str] = []
        self.inputs = Inputs(root, self._chance, shop, models=("bundled:clip", str(other_model(root.parent))))
        self._golden, self._audit = golden, Audit(root, tally.checks)
        self._untold: set[str] = set()  # batches that a run which Dagster itself had started was killed over
        self._commands = Commands(root, self._chance, self.inputs)
        self._settled: dict[str, list[Entry]] = {}
        self._seconds: dict[str, float] = {}
        self._kills = 0
        root.mkdir(parents=True)
        tally.worlds += 1

    def begin(self) -> None:
        """Make the inputs and bring everything up to date, undisturbed."""
        self.inputs.make()
        self.finish()
        self._seconds["run"] /= 3  # a first run has all to do, those that follow what changed

    def torment(self, kills: int) -> None:
        """Change and kill until so many kills have met a live process, then let it finish."""
        before, tries, idle = self.tally.kills, 0, True
        held = self._audit.held()
        while self.tally.kills < before + kills and tries < kills * 4 + 8:
            tries += 1
            if idle or self._chance.random() < 0.6:
                for _ in range(self._chance.randint(1, 3)):
                    self._change()
            late = self.tally.late
            held = self._kill(held)
            idle = self.tally.late > late  # it came to its end, and may have left nothing to do
        self.finish()

    def _change(self) -> None:
        said = self.inputs.change()
        self.history.append(f"change: {said}")
        self.tally.changes[said.split()[0]] += 1

    def _entries(self) -> list[Entry]:
        return expected(self.root, old=self.inputs.has_old)

    # ---- kills

    def _kill(self, held: Held) -> Held:
        entries = self._entries()
        present = grouped(entries)  # what comes back as it was may have been something else in the meantime
        self._settled = {image_id: had for image_id, had in self._settled.items() if present.get(image_id) == had}
        command = self._commands.draw()
        if command.looks and self._chance.random() >= UNSEEN:
            self._look()
        step = self._chance.random() < AT_STEPS and self._commands.step(command, self.tally.steps)
        killed = self._at_step(command, step) if step else self._at_moment(command)
        if not killed:
            self.tally.late += 1
            return self._audit.held()
        self.tally.kills += 1
        self._kills += 1
        self.tally.kinds[command.kind] += 1
        self._untold |= {command.batch} - {""}
        exported.sound_or_unfinished(self.root / "out")
        return self._audit.after_kill(held, self._settled, deep=self._kills % 5 == 0)

    def _at_step(self, command: Command, step: tuple[str, int]) -> bool:
        name, time_ = step
        said = f"{name}:{time_}"
        child = self._start(command, f"killed at {said}", {KILL_AT: said})
        code = self._wait(child, command)
        self._commands.reached(command, step, killed=code == -signal.SIGKILL)
        if code != -signal.SIGKILL:
            self.history[-1] += f" (came to its end, {code})"
            self._ended(command, code)
            return False
        self.tally.steps[name] += 1
        self._require_alone(child.pid)  # nobody killed those that it had started
        return True

    def _at_moment(self, command: Command) -> bool:
        """SIGKILL to the whole process group, at a moment drawn over what such a command takes."""
        usual = self._seconds.get(command.kind, self._seconds["run"] if command.kind == "forget" else None)
        moment = None if usual is None else self._chance.random() * USUAL * usual
        child = self._start(command, "undisturbed" if moment is None else f"killed after {moment:.2f} s", {})
        started = time.monotonic()
        code = child.wait(LONGEST if moment is None else moment)
        if code is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            code = self._wait(child, command)
        if code != -signal.SIGKILL:
            self.history[-1] += f" (came to its end, {code})"
            self._took(command, time.monotonic() - started)
            self._ended(command, code)
            return False
        self.tally.moments += 1
        self._require_alone(child.pid)
        return True

    def _took(self, command: Command, seconds: float) -> None:
        before = self._seconds.get(command.kind, seconds)
        self._seconds[command.kind] = (before + 3 * seconds) / 4

    def _ended(self, command: Command, code: int) -> None:
        require(code in command.codes, f"{command.kind} ended with {code}: {self._tail()}")

    def _require_alone(self, session: int) -> None:
        until = time.monotonic() + ORPHANS
        while left := processes_of(session):
            require(time.monotonic() < until, f"processes {left} outlived the one that was killed")
            time.sleep(0.02)

    # ---- runs

    def _start(self, command: Command, how: str, over: dict[str, str]) -> Child | Started:
        self.history.append(f"{command.kind}: {' '.join(command.argv)}, {how}")
        self.tally.commands[command.kind] += 1
        variables = environment(**command.environment, **over)
        out, log = self.root / "printed", self.root / "errors.log"
        with log.open("a") as file:
            file.write(f"---- {self.history[-1]}\n")
        if self._chance.random() < COLD and not over:
            self.history[-1] += ", started cold"
            argv = [str(COMMAND.with_name(command.program)), *command.argv]
            return Started(argv, self.root, variables, out, log)
        return self._warm.start(command.program, command.argv, self.root, variables, out, log)

    def _wait(self, child: Child | Started, command: Command) -> int:
        code = child.wait(LONGEST)
        if code is None:
            os.killpg(child.pid, signal.SIGABRT)
            child.wait(10)
            raise Violation(f"{command.kind} did not end within {LONGEST:.0f} s: {self._tail()}")
        return code

    def _tail(self) -> str:
        return "\n" + (self.root / "errors.log").read_text(errors="replace")[-3000:]

    def undisturbed(self, command: Command) -> Any:
        """Run a command to its end, which must be a good one; what it printed, as JSON."""
        started = time.monotonic()
        child = self._start(command, "to its end", {})
        code = self._wait(child, command)
        require(code == 0, f"{command.kind} ended with {code}: {self._tail()}")
        self._took(command, time.monotonic() - started)
        self._require_alone(child.pid)
        return json.loads((self.root / "printed").read_text())

    def _look(self) -> None:
        """Every file was looked at a while ago, as by a tick of the sensor: nobody has to wait for a second look."""
        settings = load_settings(self.root / "embeddings.yaml")
        for name in settings.sources:
            scan = opened_source(settings, name).scan()
            looks = pa.concat_tables([scan.entries.select(SEEN.names[:3]), scan.files.select(SEEN.names[:3])])
            seen_at = pa.array(
                [datetime.now(UTC) - APART - timedelta(seconds=1)] * len(looks), SEEN.field("seen_at").type
            )
            remembered_looks(settings.cache_root, name).remember(looks.append_column(SEEN.field("seen_at"), seen_at))

    # ---- the end of a round

    def finish(self) -> None:
        """Undisturbed to the end; then all that was promised must hold."""
        checks = self.tally.checks
        if self.inputs.forgettable:
            if "old" in self._audit.open()[1].sources():
                self.undisturbed(self._commands.forget())
            litter.require_forgotten(*self._audit.open())
            checks["forgotten"] += 1
            self.inputs.forgettable = False
        self._look()
        report = self.undisturbed(self._commands.run("--json"))
        entries = self._entries()
        settings, store = self._audit.open()
        Reckoning(settings, store, entries, self._golden).everything(report)
        checks["everything, against the model"] += 1
        if report["runs"] or not self._untold:  # with nothing to do, a run looks for its own dead only
            history.require_finished(self.root)
            checks["Dagster: no run unfinished, no slot held"] += 1
        history.require_told(self.root, settings, store, self._untold)
        checks["Dagster: what was told is what is there"] += 1
        self._settled = grouped(entries)
        for command in self._commands.afterwards({entry.source for entry in entries if entry.decodes}):
            self.undisturbed(command)
            if command.kind == "export":
                exported.require_equal(self.root / "out", command, store)
                checks[f"export {command.argv[1]}, equal to the store"] += 1
        self.tally.litter.update(litter.require_documented(store))
        checks["litter is of documented kinds"] += 1
        if self._commands.has_gc:
            self.undisturbed(self._commands.gc(keep=1))
            litter.require_clean(store)
            checks["gc leaves what the newest versions name"] += 1
        if self._chance.random() < 0.3 and not any(entry.fails for entry in entries):
            again = self.undisturbed(self._commands.run("--json"))
            require(again["runs"] == [], "a second run found something to do")
            checks["a second run has nothing to do"] += 1


def other_model(folder: Path) -> Path:
    """A copy of the bundled CLIP whose vectors have their numbers in another order: another fingerprint for nothing."""
    place = (folder / "other-clip").absolute()
    if not place.exists():
        from safetensors.numpy import load_file, save_file

        import embeddings_dagster

        shutil.copytree(Path(embeddings_dagster.__file__).parent / "bundled" / "clip", place)
        weights = load_file(place / "model.safetensors")
        for name in ("visual_projection.weight", "text_projection.weight"):
            weights[name] = np.roll(weights[name], 1, axis=0)
        save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return place


def say(line: str) -> None:
    """To whoever watches."""
    print(line, file=sys.stderr, flush=True)
