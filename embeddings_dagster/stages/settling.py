"""What of a scan may be taken now: pictures, and the files their records came from, that two looks found the same.

An entry that is new, changed or back waits until both are steady. What is missing from a file of records that is being
written anew is not gone either: while such a file is not steady, nothing of its batch is taken to be gone (of the whole
source, where the ledger cuts the batches, or where no entry was read from the file, as from a list of such files). A
picture with a URL has nothing to look at, and waits for its record alone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources import LOOK, Scan, Source
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.ledger_columns import Mask, Positions, among, mask
from embeddings_dagster.stages.ledger_compare import Comparison, compare
from embeddings_dagster.stages.looks import APART, old_enough, steady_since


@dataclass(frozen=True)
class Settled:
    """`ready`: the scanned rows that may be taken. `certain`: the ledger rows that may be taken to be gone.

    `seen`: every look that was needed (schema `SEEN`), `waits` those of them that are to be remembered. `rewritten`: a
    file of records changed since it was scanned, so that another scan is what would help.
    """

    ready: Mask
    certain: Mask
    seen: pa.Table
    waits: pa.Table
    rewritten: bool


def settle(
    context: StageContext,
    source: Source,
    scan: Scan,
    scanned: datetime,
    ledger: pa.Table,
    before: pa.Table,
    *,
    wait: bool,
) -> Settled:
    """Judge a scan that ended at `scanned`, which is one look; the other is an earlier one (`before`, schema `SEEN`),
    or with `wait` one made two seconds later, if any is needed. `ledger`: its rows of the batches in question.

    Raises:
        Stopped: a stop was asked for while waiting.
    """
    compared = compare(ledger, scan.entries, own_batches=source.own_batches, scanned_at=scan.started_at)
    rows = _rows_to_look_at(scan, compared)
    files = _files_that_matter(source, scan, ledger, compared)
    looks = pa.concat_tables([scan.entries.select(LOOK.names).take(rows), files.select(LOOK.names)])
    seen = steady_since(looks, before, scanned)
    del looks
    # The scan looked at each file at some moment between its beginning and its end.
    calm = old_enough(seen, scan.started_at)
    rewritten = False
    if wait and not calm.all():
        _wait_until(context, scanned + APART)
        restless, again = np.flatnonzero(~calm), datetime.now(UTC)
        looked = steady_since(source.look(seen["location"].take(restless)), seen.take(restless), again)
        seen = _with_later(seen, restless, looked)
        calm[restless] = old_enough(looked, again)
        rewritten = not calm[len(rows) :].all()
    return _judge(source, scan, ledger, rows, seen, calm, rewritten, compared)


def _rows_to_look_at(scan: Scan, compared: Comparison) -> Positions:
    """The scanned rows that have to settle and have a picture that can be looked at."""
    locations = scan.entries["location"]
    nothing_to_see = pc.or_(pc.match_substring(locations, "://"), pc.equal(locations, ""))
    return np.flatnonzero(compared.arriving & ~mask(nothing_to_see))


def _files_that_matter(source: Source, scan: Scan, ledger: pa.Table, compared: Comparison) -> pa.Table:
    """The looks at record files of what arrives, and of batches from which something seems to be gone."""
    if not len(scan.files):
        return scan.files
    records = scan.entries["record_file"]
    wanted = compared.arriving
    if compared.gone.any():
        if not source.own_batches:
            return scan.files
        wanted = wanted | among(scan.entries["batch"], ledger["batch"].filter(compared.gone).unique())
    matter = among(scan.files["location"], records.filter(wanted).unique())
    if compared.gone.any():
        matter |= ~among(scan.files["location"], records.unique())
    return scan.files.filter(matter)


def _wait_until(context: StageContext, moment: datetime) -> None:
    """Wait for a moment at most two seconds away, unless a stop is asked for."""
    left = min(moment - datetime.now(UTC), APART) / timedelta(seconds=1)
    if left > 0:
        context.stop.wait(left + 0.02)  # the two clocks involved need not agree to the microsecond
    context.check_stop()


def _with_later(seen: pa.Table, rows: Positions, later: pa.Table) -> pa.Table:
    """The looks with some rows replaced by what a later look saw."""
    order = np.arange(len(seen))
    order[rows] = len(seen) + np.arange(len(rows))
    return pa.concat_tables([seen, later]).take(order)


def _judge(
    source: Source,
    scan: Scan,
    ledger: pa.Table,
    rows: Positions,
    seen: pa.Table,
    calm: Mask,
    rewritten: bool,
    compared: Comparison,
) -> Settled:
    """`seen` are the looks at the pictures of `rows`, then those at record files."""
    records = scan.entries["record_file"]
    files = seen["location"].slice(len(rows))
    restless = among(records, files.filter(~calm[len(rows) :])) if len(files) else np.zeros(len(records), np.bool_)
    waiting = compared.arriving & restless
    waiting[rows[~calm[: len(rows)]]] = True
    still = ~calm
    still[: len(rows)] |= waiting[rows]
    if len(files):
        still[len(rows) :] |= among(files, records.filter(waiting).unique())
    held = _held(source, scan, ledger, restless, files.filter(~calm[len(rows) :]))
    return Settled(~waiting, ~held, seen, seen.filter(still), rewritten)


def _held(source: Source, scan: Scan, ledger: pa.Table, of_restless: Mask, files: pa.ChunkedArray) -> Mask:
    """The ledger rows that `files`, which are not steady, may still come to list."""
    if not len(files):
        return np.zeros(len(ledger), np.bool_)
    if not source.own_batches or not among(files, scan.entries["record_file"].unique()).all():
        return np.ones(len(ledger), np.bool_)
    return among(ledger["batch"], scan.entries["batch"].filter(of_restless).unique())
