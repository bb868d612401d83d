"""How scrapers name what they leave: batch files, the folders of batches, and the folders of their pictures."""

import re

BATCH_FILES = ("batch.json", "items.json")  # the first that is there counts
FLAT = (".json", ".jsonl")
IMAGES = "images"
STAMPED = re.compile(r"(batch_)?[0-9]{8}_[0-9]{6}(_[0-9]{1,6})?")  # the folder of a batch


def is_hidden(name: str) -> bool:
    """Whether a file or folder is nobody's batch: hidden, or what macOS puts beside the content of an archive."""
    return name.startswith(".") or name == "__MACOSX"
