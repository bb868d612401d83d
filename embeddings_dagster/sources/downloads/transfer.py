"""One picture from its address: redirects, retries, limits. What the server does costs at most `total_seconds` and the
cap's bytes of memory, and ends as an `Answer` or as a `Failure` that says what happened and what to do."""

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException

import requests
from urllib3.exceptions import HTTPError

from embeddings_dagster.errors import DownloadFailed, DownloadRefused
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.downloads.answers import Answer, Question, take
from embeddings_dagster.sources.downloads.cutoff import Budget, Watch
from embeddings_dagster.sources.downloads.failure import Failure
from embeddings_dagster.sources.downloads.retries import open_retry, retry_after
from embeddings_dagster.sources.downloads.session import open_session
from embeddings_dagster.sources.downloads.troubles import failure_of, not_the_web
from embeddings_dagster.sources.downloads.unreachable import Unreachable
from embeddings_dagster.sources.downloads.urls import follow, host_of, normalise, place_of
from embeddings_dagster.sources.downloads.waiting import Turns, check, pause

_TROUBLES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


@dataclass(frozen=True)
class _Try:
    """What all requests for one picture share."""

    question: Question
    headers: Mapping[str, str]
    budget: Budget
    stop: threading.Event | None


class Transfer:
    """Fetches pictures for several threads, at most `per_host` at a time from one host."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._session = open_session(settings)
        self._unreachable = Unreachable()
        self._hosts = Turns(settings.per_host, settings.requests_per_second)

    def close(self) -> None:
        self._session.close()

    def fetch(
        self,
        url: str,
        cap: int,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """The picture at `url`, of at most `cap` bytes; `etag` and `last_modified` are those of the state at hand.

        Raises:
            Failure: it is not to be had.
            Stopped: `stop` was set.
        """
        conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {name: value for name, value in conditions.items() if value is not None}
        question = Question(shown(url), cap, known=bool(headers))
        try:
            address = normalise(url)
        except ValueError as error:
            raise not_the_web(question.shown, "url", str(error)) from error
        attempt = _Try(question, headers, Budget(self._settings.total_seconds), stop)
        retry = open_retry(self._settings)
        while True:
            try:
                return self._follow(address, attempt)
            except Failure as failure:
                left = retry.next() if failure.again else None
                wait = failure.wait if failure.wait is not None or left is None else left.get_backoff_time()
                if left is None or wait is None or not self._worth(wait, failure, attempt.budget):
                    if retry.history:
                        failure.message += f" (asked {len(retry.history) + 1} times)"
                    if failure.unreached:
                        self._unreachable.note(failure.unreached, reached=False)
                    raise
                retry = left
            pause(wait, stop)

    def _worth(self, wait: float, failure: Failure, budget: Budget) -> bool:
        asked_for = failure.wait is not None
        return wait < budget.left() and not (asked_for and wait > self._settings.retry_after_seconds)

    def _follow(self, url: str, attempt: _Try) -> Answer:
        """One try: `url`, and wherever it is redirected to. Every hop waits for its own host's turn."""
        seen = [url]
        while True:
            check(attempt.stop)
            with self._hosts.turn(host_of(url), attempt.stop) as waited:
                attempt.budget.extend(waited)
                answer = self._ask(url, attempt)
            if isinstance(answer, Answer):
                return answer
            url = self._next(url, answer, seen, attempt.question.shown)
            seen.append(url)

    def _ask(self, url: str, attempt: _Try) -> Answer | str:
        """One request: an answer, or where it is to be had."""
        host = place_of(url)
        self._unreachable.check(host, attempt.question.shown)
        with Watch(attempt.budget, attempt.stop) as watch:
            try:
                with closing(self._send(url, attempt)) as response:
                    self._unreachable.note(host, reached=True)
                    if response.is_redirect:
                        return _text(response.headers["Location"])
                    answer = self._take(response, attempt.question)
            except Failure:
                if watch.cut:
                    self._raise_cut(attempt)
                raise
            except _TROUBLES as error:
                if watch.cut or attempt.budget.left() <= 0:
                    self._raise_cut(attempt)
                raise failure_of(error, attempt.question.shown, url) from error
        if watch.cut:  # a body of no declared length looks whole when its connection is cut
            self._raise_cut(attempt)
        return answer

    def _send(self, url: str, attempt: _Try) -> requests.Response:
        request = self._session.prepare_request(requests.Request("GET", url, headers=dict(attempt.headers)))
        left = max(attempt.budget.left(), 0.001)
        timeout = (min(self._settings.connect_seconds, left), min(self._settings.read_seconds, left))
        return self._session.send(request, stream=True, timeout=timeout, allow_redirects=False)

    def _take(self, response: requests.Response, question: Question) -> Answer:
        try:
            return take(response, question, self._settings)
        except Failure as failure:
            if failure.again:
                failure.wait = retry_after(open_retry(self._settings), response.raw)
            raise

    def _raise_cut(self, attempt: _Try) -> None:
        check(attempt.stop)
        seconds = self._settings.total_seconds
        raise Failure(
            DownloadFailed,
            "transfer",
            f"{attempt.question.shown}: not whole after {seconds:g} s; run again later, or raise "
            "download.total_seconds",
        )

    def _next(self, url: str, location: str, seen: list[str], name: str) -> str:
        try:
            target = follow(url, location)
        except ValueError as error:
            reason = f"it is redirected to {shown(location)!r}, and {error}"
            raise not_the_web(name, "redirects", reason) from error
        if target in seen or len(seen) > self._settings.redirects:
            how = "in a circle" if target in seen else f"more than {self._settings.redirects} times"
            message = f"{name}: is redirected {how}; correct the address, or raise download.redirects"
            raise Failure(DownloadRefused, "redirects", message)
        return target


def _text(header: str) -> str:
    """A header's text: http.client reads every byte as Latin-1, servers write UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
