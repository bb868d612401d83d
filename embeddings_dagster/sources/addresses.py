"""Addresses of pictures, made fit to be shown: to people, in messages and in tables."""

import re

_USER = re.compile(r"(?<=//)[^/?#\\]*@")
_SECRET = re.compile(
    r"(?i)([?&;][^=&;#]*(?:token|key|sig|secret|passw|pwd|auth|credential|session|jwt)[^=&;#]*=)[^&;#]+"
)
_MOST_SHOWN = 300


def shown(url: str) -> str:
    """`url` for a message: without its user and password, the values of secrets left out, printable, not endless."""
    text = _SECRET.sub(r"\1…", _USER.sub("", url.strip()))
    text = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 30]}…{text[-29:]}"
