"""What a run did, as data and as a table: per source, and within it per stage."""

from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from embeddings_dagster.cli.terminal import Column, duration, note, say, say_table
from embeddings_dagster.stages.statistics import Statistics, summed

if TYPE_CHECKING:
    from embeddings_dagster.defs.launch import Outcome
    from embeddings_dagster.stages.account import Account
    from embeddings_dagster.stages.catalog import CatalogReport
    from embeddings_dagster.stages.discover import Discovery
    from embeddings_dagster.stages.index import IndexReport
    from embeddings_dagster.stages.tally import Tally

NUMBERS = ("total", "processed", "skipped", "failed")


@dataclass
class Report:
    """What a run did. `problems`: what was not done, a line each; recorded failures are not among them."""

    discoveries: "dict[str, Discovery]" = field(default_factory=dict)
    accounts: "list[Account]" = field(default_factory=list)
    indexes: "list[IndexReport]" = field(default_factory=list)
    catalog: "CatalogReport | None" = None
    tallies: "list[Tally]" = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Images with a recorded failure."""
        return sum(tally.failed for tally in self.tallies)

    def take(self, outcome: "Outcome") -> None:
        """Note a Dagster run that has ended."""
        self.run_ids.append(outcome.run_id)
        self.problems += outcome.problems

    def take_catalog(self, done: "CatalogReport") -> None:
        """Note the refresh of the catalogue."""
        self.catalog = done

    def accounts_of(self, source: str) -> "list[Account]":
        return [each for each in self.accounts if each.batch.startswith(f"{source}__")]

    def statistics(self) -> list[Statistics]:
        """From source to sink: what each source lists, its ledger, and its stages summed over their batches; then what
        is made from all of them."""
        found = [self._statistics_of(tally.source) for tally in self.tallies]
        sinks = [each.statistics for each in self.indexes] + ([self.catalog.statistics] if self.catalog else [])
        return [*(each for some in found for each in some), *sinks]

    def _statistics_of(self, source: str) -> list[Statistics]:
        found = self.discoveries.get(source)
        looked = [each for each in (found.listing, found.statistics) if each] if found else []
        return [*looked, *self.stages_of(source)]

    def stages_of(self, source: str) -> list[Statistics]:
        """Each stage summed over the batches that it was run for, in the order they ran."""
        accounts = self.accounts_of(source)
        stages = dict.fromkeys(account.stage for account in accounts)
        return [summed(stage, source, [each for each in accounts if each.stage == stage]) for stage in stages]

    def _discovery(self, source: str) -> dict[str, object] | None:
        """What the look at a source found; None where there was none, or it failed."""
        found = self.discoveries.get(source)
        if found is None:
            return None
        problems = [asdict(problem) for problem in found.problems]
        return {**found.counts, "ignored": dict(found.ignored), "problems": problems}

    def document(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "statistics": [each.counts for each in self.statistics()],
            "sources": [
                {
                    **asdict(tally),
                    "seconds": round(self.seconds[tally.source], 3),
                    "discovery": self._discovery(tally.source),
                    "stages": [each.as_dict() for each in self.accounts_of(tally.source)],
                }
                for tally in self.tallies
            ],
            "indexes": [each.as_dict() for each in self.indexes],
            "catalog": self.catalog and self.catalog.as_dict(),
            "runs": self.run_ids,
            "problems": self.problems,
        }


def say_report(report: Report) -> None:
    """The table, then what else the reader should know."""
    columns = [Column("source"), *(Column(name, right=True) for name in NUMBERS), Column("seconds", right=True)]
    rows: list[tuple[object, ...]] = []
    for tally in report.tallies:
        seconds = f"{report.seconds[tally.source]:.1f}"
        rows.append((tally.source, *attrgetter(*NUMBERS)(tally), seconds))
        rows += _stages(report.stages_of(tally.source))
    say_table(columns, rows)
    for name, found in report.discoveries.items():
        if found.ignored:
            passed_over = ", ".join(f"{count:,} {reason}" for reason, count in found.ignored.items())
            note(f"{name}: passed over {passed_over}")
    for stage, (low, exact) in _sent_back(report.accounts).items():
        note(f"{stage}: {exact:,} of {low + exact:,} vectors were computed in float32 after all, since another "
             "precision would have moved them too far", style="yellow")  # fmt: skip
    for index in report.indexes:
        if index.changed:
            say(
                f"{index.model}_index: generation {index.generation}, {index.rows:,} rows (+{index.inserted:,} "
                f"~{index.updated:,} -{index.removed:,}), {duration(index.seconds)}"
            )
        elif index.pinned:
            note(f"{index.model}_index is pinned; `embeddings index rollback --release` lets it follow", style="yellow")
    if report.catalog is not None and report.catalog.changed:
        done = report.catalog
        say(
            f"search_catalog: generation {done.generation}, {done.rows:,} records of {done.images:,} images "
            f"(+{done.inserted:,} ~{done.updated:,} -{done.removed:,}), {duration(done.seconds)}"
        )
    if not report.run_ids and not report.problems:
        say("nothing changed: every batch and every index is current, nothing was launched", style="green")
        troubled = [name for name, found in report.discoveries.items() if found.problems]
        if troubled:
            note(f"what {', '.join(troubled)} could not take, and why, is told above", style="yellow")
    for problem in report.problems:
        note(f"error: {problem}", style="red")
    if report.failed:
        note(f"{report.failed:,} failed: `embeddings failures` says why")


def _sent_back(accounts: "list[Account]") -> dict[str, tuple[int, int]]:
    """The stages of which some vectors were computed in another precision, and some in float32: how many of each."""
    found = {}
    for stage in dict.fromkeys(account.stage for account in accounts):
        mine = [account.precisions for account in accounts if account.stage == stage]
        exact = sum(each.get("fp32", 0) for each in mine)
        low = sum(sum(each.values()) for each in mine) - exact
        if exact and low:
            found[stage] = (low, exact)
    return found


def _stages(statistics: list[Statistics]) -> list[tuple[object, ...]]:
    """A line for each stage that was given anything; there is no text to encode in most sources."""
    return [
        (f"  {each.stage}", *attrgetter(*NUMBERS)(each), f"{each.seconds:.1f}") for each in statistics if each.total
    ]
