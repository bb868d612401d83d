"""Are pictures that belong together alike? The mean cosine within groups beside that across them, exactly.

Means and not pairs are compared, which costs one pass. For unit vectors v of a group of n with sum S:

    within = (|S|² − Σ|v|²) / (n (n − 1))         the mean over its ordered pairs of two different pictures
    across = S · (T − S) / (n (N − n))            over pairs with one picture of it and one of another group

where T is the sum of all N pictures that are in groups. Over all groups: within = Σ(|S|² − Σ|v|²) / Σ n (n − 1), and
across = (|T|² − Σ|S|²) / (N² − Σn²).
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import BadQuery, IndexUnavailable, SourceError
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import GroupSettings
from embeddings_dagster.stages.analysis_pictures import Numbers, Pictures, Vectors, newest_index
from embeddings_dagster.stages.groups_membership import groups_of
from embeddings_dagster.stages.index_checks import CheckResult
from embeddings_dagster.store import Store

BLOCK = 8_192  # vectors in memory at one time
MOST_SUMS = 2**24  # numbers of all groups' sums, 128 MB: 32,768 groups of vectors of 512
SHOWN = 50  # groups in a detail


@dataclass(frozen=True)
class GroupFinding:
    """A group of `size` pictures: the mean cosine of two of them, and of one of them with one of another group."""

    group: str
    size: int
    within: float
    across: float


@dataclass(frozen=True)
class Cohesion:
    """All groups of a source. `within` and `across` are over all of them; `pictures` are in groups of two or more, or
    alone in theirs (`alone`); `outside` are in none. `groups` has those of two and more, the least coherent first."""

    source: str
    margin: float
    within: float
    across: float
    pictures: int
    alone: int
    outside: int
    groups: tuple[GroupFinding, ...]

    @property
    def passed(self) -> bool:
        return self.within - self.across > self.margin

    @property
    def failing(self) -> list[GroupFinding]:
        """The groups that are not above the rest by the margin."""
        return [each for each in self.groups if not each.within - each.across > self.margin]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, of bounded size."""
        return {
            **asdict(self),
            "passed": self.passed,
            "failing": [each.group for each in self.failing][:SHOWN],
            "failing_groups": len(self.failing),
            "groups": [asdict(each) for each in self.groups[:SHOWN]],
        }

    def __str__(self) -> str:
        verdict = "above" if self.passed else "not above"
        by = f" by {self.margin:g}" if self.margin else ""
        failing = ", ".join(each.group for each in self.failing[:5])
        more = f", {len(self.failing) - 5} more" if len(self.failing) > 5 else ""
        apart = f"; groups that are not: {failing}{more}" if self.failing else ""
        return (
            f"{self.source}: mean cosine within {len(self.groups)} groups {self.within:.4f}, {verdict} the "
            f"{self.across:.4f} across them{by} ({self.pictures:,} pictures){apart}"
        )


def groups_cohere(store: Store, settings: Settings, model: str) -> CheckResult:
    """Whether, for every source that says what its groups are, pictures of one group are closer than others to each
    other, in the vectors that searches of a model see."""
    asked = {name: source.groups for name, source in settings.sources.items() if source.groups is not None}
    index = newest_index(store, model)
    if index is None:
        return CheckResult(True, f"{model} has no index yet, so there is nothing to compare")
    pictures = Pictures.open(index)
    detail: dict[str, object] = {}
    lines, passed = [], True
    for source, said in asked.items():
        try:
            found = source_cohesion(store, settings, source, said, pictures)
        except (SourceError, IndexUnavailable, BadQuery) as error:
            lines.append(f"{source}: {error}")
            passed = False
            continue
        if found is None:
            continue
        passed &= found.passed
        lines.append(str(found))
        detail[source] = found.as_dict()
    return CheckResult(passed, "\n".join(lines) or "no source has pictures yet", detail=detail)


def source_cohesion(
    store: Store, settings: Settings, source: str, said: GroupSettings, pictures: Pictures
) -> Cohesion | None:
    """How coherent the groups of one source are; None while it has no pictures.

    Raises:
        SourceError: no two pictures are in one group, all are in one, or there are too many groups; or the groups file
            is of no use.
        IndexUnavailable: there is no catalogue yet to read the field from.
    """
    there = pictures.table.column("image_id").combine_chunks()
    mine = np.flatnonzero(pc.starts_with(there, f"{source}:").to_numpy(zero_copy_only=False))
    if not len(mine):
        return None
    images = there.take(pa.array(mine))
    pairs = groups_of(store, settings.root, source, said, images.to_pylist() if said.file else ())
    codes, names = _codes(images, pairs)
    most = max(2, MOST_SUMS // pictures.dimension)
    if len(names) > most:
        raise SourceError(
            f"source {source} has {len(names):,} groups, at most {most:,} are compared; choose a field with fewer "
            "values in `groups`"
        )
    measured = cohesion(codes, len(names), pictures.dimension, lambda some: pictures.vectors(mine[some]))
    if measured is None:
        what = f"field {said.field!r}" if said.field else f"file {said.file}"
        inside = int((codes >= 0).sum())
        raise SourceError(
            f"of {len(images):,} pictures of source {source} {inside:,} are in {len(names):,} groups by the {what}, "
            "which leaves nothing to compare: it takes two groups, and two pictures in one of them. Correct `groups` "
            "of the source"
        )
    sizes, within, across, overall = measured
    several = np.flatnonzero(sizes > 1)
    order = several[np.argsort((within - across)[several], kind="stable")]
    groups = tuple(
        GroupFinding(names[each], int(sizes[each]), round(float(within[each]), 6), round(float(across[each]), 6))
        for each in order.tolist()
    )
    return Cohesion(
        source,
        said.margin,
        round(overall[0], 6),
        round(overall[1], 6),
        pictures=int(sizes.sum()),
        alone=int((sizes == 1).sum()),
        outside=int((codes < 0).sum()),
        groups=groups,
    )


def _codes(images: pa.Array, pairs: Iterable[tuple[str, str]]) -> tuple[Numbers, list[str]]:
    """The number of each picture's group (-1: none), and the groups' names; groups without a picture have none."""
    listed = list(pairs)
    owners = pa.array([image for image, _ in listed], pa.string())
    groups = pa.array([group for _, group in listed], pa.string())
    place = pc.index_in(images, value_set=owners)
    found = groups.take(place).dictionary_encode()
    codes = pc.fill_null(found.indices, -1).to_numpy().astype(np.int64)
    return codes, found.dictionary.to_pylist()


Measured = tuple[Numbers, npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]]


def cohesion(codes: Numbers, groups: int, dimension: int, vectors: Callable[[Numbers], Vectors]) -> Measured | None:
    """Size, within and across of each group (nan where it has no pairs), and both over all; see the formulas above.

    `codes` numbers each picture's group, -1 for none; `vectors` gives those of some pictures. None where there is no
    pair within, or none across.
    """
    sums, squares = np.zeros((groups, dimension)), np.zeros(groups)
    inside = np.flatnonzero(codes >= 0)
    for start in range(0, len(inside), BLOCK):
        some = inside[start : start + BLOCK]
        found = vectors(some).astype(np.float64)
        np.add.at(sums, codes[some], found)
        np.add.at(squares, codes[some], np.einsum("nd,nd->n", found, found))
    sizes = np.bincount(codes[inside], minlength=groups).astype(np.int64)
    pairs, others = sizes * (sizes - 1), sizes * (sizes.sum() - sizes)
    if not pairs.sum() or not others.sum():
        return None
    lengths, total = np.einsum("gd,gd->g", sums, sums), sums.sum(axis=0)
    inner, outer = lengths - squares, sums @ total - lengths
    with np.errstate(invalid="ignore", divide="ignore"):
        within, across = inner / pairs, outer / others
    return sizes, within, across, (float(inner.sum() / pairs.sum()), float(outer.sum() / others.sum()))
