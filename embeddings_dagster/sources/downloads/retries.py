"""When to ask again: urllib3's Retry counts, doubles the wait and reads Retry-After. It is not left to sleep by itself,
for its sleep knows neither of a deadline nor of a stop."""

import urllib3
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.response import BaseHTTPResponse

from embeddings_dagster.settings_sources import DownloadSettings

AGAIN = frozenset({408, 429, 502, 503, 504})
# What a server may ask for at most: else one mistaken header would shut a picture out for years.
_LONGEST_WAIT = 7 * 24 * 3600


class Retry(urllib3.Retry):
    def get_backoff_time(self) -> float:
        """Seconds before the next try; urllib3's own rule does not wait before the first retry at all."""
        return float(min(self.backoff_max, self.backoff_factor * 2 ** (len(self.history) - 1)))

    def next(self) -> "Retry | None":
        """What is left after one more failure; None when it was the last."""
        try:
            return self.increment("GET", error=urllib3.exceptions.HTTPError())
        except MaxRetryError:
            return None


def open_retry(settings: DownloadSettings) -> Retry:
    return Retry(
        total=settings.retries,
        status_forcelist=AGAIN,
        backoff_factor=settings.retry_seconds,
        retry_after_max=_LONGEST_WAIT,
    )


def retry_after(retry: Retry, response: BaseHTTPResponse) -> float | None:
    """Seconds for which the server wants to be left alone (Retry-After, as a number or as a date); None if it says none
    that can be read."""
    try:
        return retry.get_retry_after(response)
    except (InvalidHeader, ValueError, OverflowError, TypeError):
        return None
