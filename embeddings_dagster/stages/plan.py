"""What a stage has to do, decided by comparing states; pure, so that it can be tested to the last case.

A state maps `(image_id, region)` to the hash of that row's input. The unit of work is an image with all its regions:
when one region must be made anew, the image is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Failure


@dataclass(frozen=True)
class Plan:
    """The difference between what is wanted and what is there.

    The first five partition the wanted keys; `gone` are the keys that are there and no longer wanted.
    """

    new: frozenset[Key]
    changed: frozenset[Key]
    retried: frozenset[Key]
    kept: frozenset[Key]
    failed: frozenset[Key]
    gone: frozenset[Key]

    @property
    def todo(self) -> frozenset[Key]:
        """Keys to make, now."""
        return self.new | self.changed | self.retried

    @cached_property
    def images(self) -> frozenset[str]:
        """Images to work on: those of which a region is to be made."""
        return frozenset(key.image_id for key in self.todo)


def plan(
    wanted: Mapping[Key, str],
    present: Mapping[Key, str],
    failures: Mapping[Key, Failure],
    *,
    retry_failed: bool = False,
    force: bool = False,
) -> Plan:
    """Compare wanted inputs with the rows and failures there are.

    A recorded failure is tried again when its input changed, when it is retryable, or when `retry_failed` asks for it;
    otherwise the same input would only fail the same way.
    """
    new: set[Key] = set()
    changed: set[Key] = set()
    retried: set[Key] = set()
    kept: set[Key] = set()
    failed: set[Key] = set()
    for key, input_hash in wanted.items():
        failure = failures.get(key)
        if failure is not None and failure.input_hash == input_hash:
            (retried if failure.retryable or retry_failed or force else failed).add(key)
        elif present.get(key) == input_hash and not force:
            kept.add(key)
        else:
            (changed if key in present or failure is not None else new).add(key)
    touched = {key.image_id for group in (new, changed, retried) for key in group}
    siblings = {key for key in kept | failed if key.image_id in touched}
    gone = (present.keys() | failures.keys()) - wanted.keys()
    return Plan(
        new=frozenset(new),
        changed=frozenset(changed | siblings),
        retried=frozenset(retried),
        kept=frozenset(kept - siblings),
        failed=frozenset(failed - siblings),
        gone=frozenset(gone),
    )
