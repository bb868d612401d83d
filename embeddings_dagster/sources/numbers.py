"""Numbers as strangers write them, in catalogues and scraped records: `12.5`, `12,50 €`, `$1,234.56`, `1.234,56`.

Three answers, never a guess in silence: nothing is there (None), a number, or something that is no number (ValueError).
"""

import math
import re
from decimal import Decimal

# What tables and scrapers leave where they have no value.
NOTHING = frozenset({"", "nan", "null", "none", "n/a", "na", "nil", "-", "--"})

_SHOWN = 60  # characters of a bad value that a message repeats
_LONGEST = 100  # characters of a number; longer text is none, and is not searched for one
_CODES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL"
)
_SIGNS = {
    "€": "EUR", "£": "GBP", "$": "USD", "us$": "USD", "¥": "JPY", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW",
    "₴": "UAH", "₫": "VND", "zł": "PLN", "kč": "CZK", "fr.": "CHF", "sfr.": "CHF", "ca$": "CAD", "c$": "CAD",
    "a$": "AUD", "au$": "AUD", "r$": "BRL", "us $": "USD", "nz$": "NZD", "hk$": "HKD", "s$": "SGD", "mx$": "MXN",
    "nt$": "TWD", "kr": "SEK", "kr.": "SEK", ":-": "SEK", "ft": "HUF", "lei": "RON", "лв": "BGN", "лв.": "BGN",
    "руб": "RUB", "руб.": "RUB", "грн": "UAH", "rp": "IDR", "rm": "MYR", "s/": "PEN", "₪": "ILS", "฿": "THB",
    "₱": "PHP", "円": "JPY", "元": "CNY", "원": "KRW", "tl": "TRY",
}  # fmt: skip
_SHARED = frozenset({"$", "¥", "kr", "kr."})  # signs of several countries, which a code beside the number may tell
_MARK = "|".join([*sorted(map(re.escape, _SIGNS), key=len, reverse=True), *_CODES.split()])
_WITH_CURRENCY = re.compile(
    rf"(?P<sign>[-+]?) ?(?P<before>{_MARK})? ?(?P<number>[-+]?[0-9.,].*?) ?(?P<after>{_MARK})?", re.IGNORECASE
)
_WRITTEN_BY_A_PROGRAM = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?", re.IGNORECASE)
# Groups of three; in India the last is of three and those before it are of two. Nobody groups after a leading 0.
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?P<group>[,.'’ ])(?:[0-9]{3}(?P=group))*[0-9]{3}(?:(?!(?P=group))[.,][0-9]*)?")
_GROUPED_IN_INDIA = re.compile(r"[1-9][0-9]?(?:(?P<group>,)[0-9]{2})+,[0-9]{3}(?:\.[0-9]*)?")
_UNGROUPED = re.compile(r"[0-9]+[.,]?[0-9]*|[.,][0-9]+")
_NO_CENTS = re.compile(r"[.,]-{1,2}$")  # `12,-`
_DASHES = str.maketrans("−‒–—﹣－", "------")


def parse_number(value: object) -> float | None:
    """A finite number, or None where there is nothing: None, NaN, blank, or a word of `NOTHING`.

    Text may hold a currency before or after the number, and groups of digits divided by `,`, `.`, spaces or
    apostrophes; the last divider is the decimal one. A single divider before three digits is read as follows: a comma
    divides groups (`1,234` is 1234); a point is a decimal one, as programs write it (`1.234`), unless a currency stands
    beside it (`1.234 €` is 1234).

    Raises:
        ValueError: there is something, and it is no finite number.
    """
    if isinstance(value, str):
        text = _plain(value)
        return None if text.lower() in NOTHING else _finite(_from_text(text, value), value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Decimal) and value.is_nan():
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"{_shown(value)} is no number")
    return _finite(value, value)


def parse_price(value: object) -> float | None:
    """As `parse_number`, and at least 0.

    Raises:
        ValueError: there is something, and it is no finite number or below 0.
    """
    number = parse_number(value)
    if number is not None and number < 0:
        raise ValueError(f"{_shown(value)} is below 0")
    return number


def named_currency(value: object) -> str | None:
    """The currency that a price names itself, as a code of three letters: `$1,234.56` is in USD.

    Where a sign serves several countries, the one with the most shops is taken: `$` is USD, `¥` is JPY, `kr` is SEK;
    unless a code follows, as in `$12.00 CAD`.
    """
    found = _WITH_CURRENCY.fullmatch(_plain(value)) if isinstance(value, str) and len(value) <= _LONGEST else None
    mark = (found["after"] or found["before"]) if found and _agree(found) else None
    return _currency(mark) if mark else None


def _currency(mark: str) -> str:
    return _SIGNS.get(mark.lower(), mark.upper())


def _agree(found: re.Match[str]) -> bool:
    """Whether a currency before the number and one after it can be the same."""
    before, after = found["before"], found["after"]
    if not (before and after):
        return True
    return _currency(before) == _currency(after) or (before.lower() in _SHARED and after.lower() not in _SIGNS)


def _plain(text: str) -> str:
    """One kind of dash, one kind of space, none at the ends."""
    return " ".join(text.translate(_DASHES).split())


def _from_text(text: str, value: str) -> str:
    """A number as `float` takes it."""
    if len(text) <= _LONGEST and _WRITTEN_BY_A_PROGRAM.fullmatch(text):
        return text
    found = _WITH_CURRENCY.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or not _agree(found) or (found["sign"] and found["number"][0] in "+-"):
        raise ValueError(f"{_shown(value)} is no number")
    sign = found["sign"] or (found["number"][0] if found["number"][0] in "+-" else "")
    digits = _NO_CENTS.sub("", found["number"].lstrip("+-").strip())
    named = bool(found["before"] or found["after"])
    grouped = _GROUPED.fullmatch(digits) or _GROUPED_IN_INDIA.fullmatch(digits)
    if grouped and (grouped["group"] != "." or named or len(digits) > digits.index(".") + 4):
        return sign + digits.replace(grouped["group"], "").replace(",", ".")
    if _UNGROUPED.fullmatch(digits):
        return sign + digits.replace(",", ".")
    raise ValueError(f"{_shown(value)} is no number")


def _finite(number: float | Decimal | str, value: object) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{_shown(value)} is no finite number")
    return found


def _shown(value: object) -> str:
    """A value as a message repeats it, printable. Whole numbers of thousands of digits cannot even be written down."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length():,} bits"
    return repr(value) if isinstance(value, int | float | Decimal) else f"a {type(value).__name__}"
