"""How the batches of a source that has its own are named: by where they lie, the same in every look and process."""

import hashlib
import os
import re

_LONGEST = 100  # characters; a name becomes that of folders, which may have 255 bytes
_HASHED = re.compile(r"-[0-9a-f]{10}$")


def batch_name(path: str) -> str:
    """The name of the batch at a path relative to the root; different for different paths, and always the same.

    It is the path itself where that may be part of a partition key. Otherwise a hash of the path is added to what can
    be kept of it.
    """
    name = re.sub(r"\.{3,}", "-", re.sub(r"[^A-Za-z0-9_.-]+", "-", path))
    if name == path and len(name) <= _LONGEST and not is_hashed(name):
        return name
    return f"{name[:_LONGEST]}-{hashlib.blake2b(os.fsencode(path), digest_size=5).hexdigest()}"


def is_hashed(name: str) -> bool:
    """Whether a batch's name does not say where it lies."""
    return _HASHED.search(name) is not None
