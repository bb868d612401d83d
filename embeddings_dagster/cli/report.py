"""What a run did, as data and as a table: per source, and within it per stage."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from embeddings_dagster.cli.terminal import Column, duration, note, say, say_table

if TYPE_CHECKING:
    from embeddings_dagster.defs.launch import Outcome
    from embeddings_dagster.stages.account import Account
    from embeddings_dagster.stages.catalog import CatalogReport
    from embeddings_dagster.stages.discover import Discovery
    from embeddings_dagster.stages.index import IndexReport
    from embeddings_dagster.stages.tally import Tally


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
    numbers = ("total", "processed", "skipped", "failed")
    columns = [Column("source"), *(Column(name, right=True) for name in numbers), Column("seconds", right=True)]
    rows: list[tuple[object, ...]] = []
    for tally in report.tallies:
        seconds = f"{report.seconds[tally.source]:.1f}"
        rows.append((tally.source, tally.total, tally.processed, tally.skipped, tally.failed, seconds))
        rows += _stages(report.accounts_of(tally.source))
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


def _stages(accounts: "list[Account]") -> list[tuple[object, ...]]:
    """Each stage summed over its batches, in the order they ran; counts are of rows."""
    rows: list[tuple[object, ...]] = []
    for stage in dict.fromkeys(account.stage for account in accounts):
        mine = [account for account in accounts if account.stage == stage]
        sums = [sum(getattr(each, name) for each in mine) for name in ("total", "processed", "skipped", "failed")]
        if not any(sums):
            continue  # no text to encode, as in most sources
        rows.append((f"  {stage}", *sums, f"{sum(each.seconds for each in mine):.1f}"))
    return rows
