"""How a graph is searched among some of its rows only: which way is the cheapest that keeps the recall. Pure.

A selector inside the graph loses recall (.57 at one row in twenty). So the graph is asked for a longer list, as if
there were no filter, and the rows that are allowed are picked from that. A list is complete at its head and not at its
end: an answer counts when its last hit lies in the first third, whatever the filter has to do with the query. Where it
does not, the list doubles, until looking at every allowed row costs less.

Costs are in microseconds of one core at 512 dimensions, measured with 100,000 rows; only their ratios matter.
"""

GRAPH_START = 150.0
GRAPH_PLACE = 6.0  # a place in the list makes some 13 rows be compared, at places all over the file
SCAN_LABEL = 0.004  # asking whether a row is allowed
SCAN_ROW = 0.15  # comparing one in float16, those before and after it too
LOOK_ROW = 1.0  # fetching one from `vectors.npy` and comparing it in float64

DEPTH = 3  # a list of this many times as many places as hits is complete among them as often as promised


def graph_cost(places: int) -> float:
    """Of a search of the graph with a list of so many places."""
    return GRAPH_START + GRAPH_PLACE * places


def exact_cost(rows: int, allowed: int) -> float:
    """Of comparing all that is allowed, in the cheaper way."""
    return min(LOOK_ROW * allowed, SCAN_LABEL * rows + SCAN_ROW * allowed)


def is_looked_up(rows: int, allowed: int) -> bool:
    """Whether to fetch each allowed row, and not to ask of every row whether it is one."""
    return LOOK_ROW * allowed <= exact_cost(rows, allowed)


def first_places(ef: int, k: int, rows: int, allowed: int) -> int:
    """The list to begin with, which is long enough where the filter has nothing to do with the query."""
    return min(rows, -(-max(ef, DEPTH * k) * rows // max(allowed, 1)))


def is_complete(last: int, places: int) -> bool:
    """Whether a hit at place `last` (from 0) of a list is well inside it."""
    return (last + 1) * DEPTH <= places


def is_worth_it(places: int, spent: float, rows: int, allowed: int) -> bool:
    """Whether to search the graph (again), `spent` having been spent on shorter lists: all of it together never costs
    more than the exact answer would have, so a filter that hides the neighbourhood at most doubles the cost."""
    return spent + graph_cost(places) < exact_cost(rows, allowed)
