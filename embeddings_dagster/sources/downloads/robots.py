"""What a server says of the use of its pictures: the `X-Robots-Tag` header.

The directives are those that img2dataset respects by default: who wants no index of a picture wants none of its vector.
"""

from collections.abc import Iterable

FORBIDDING = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
# Directives with a value of their own; any other word before a colon names the robot that the rest is meant for.
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def forbidding(headers: Iterable[str], user_agent: str) -> str:
    """The directive that forbids `user_agent` the picture, by the values of all its X-Robots-Tag headers; else ''."""
    ours = {"", "*", *user_agent.lower().replace("/", " ").split()[:1]}
    for header in headers:
        robot = ""
        for piece in header.lower().split(","):
            head, colon, tail = piece.partition(":")
            if colon and head.strip() not in _WITH_VALUE:
                robot = head.strip()
                piece = tail
            if robot in ours and piece.strip() in FORBIDDING:
                return piece.strip()
    return ""
