"""Pictures by their URL, through the cache: the one place that decides whether a server is asked."""

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, NotDownloaded, TooManyBytes
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.downloads.cache import Cache
from embeddings_dagster.sources.downloads.failure import KINDS, Failure
from embeddings_dagster.sources.downloads.record import Row
from embeddings_dagster.sources.downloads.refresh import Outcome, Refreshed, refresh_all
from embeddings_dagster.sources.downloads.transfer import Transfer
from embeddings_dagster.sources.downloads.urls import canonical_host
from embeddings_dagster.sources.downloads.waiting import Turns


class Downloads:
    """The pictures of one source, safe to use from several threads and processes at once; opening it does nothing.

    An address is asked once: its picture is then read from the cache, and an answer that is final (404, a web page, a
    refusal) is given again from memory. One that may heal (503, a timeout) is asked again, though never before the time
    that its server named. `download=False` asks nobody. `retry_failed` asks again whatever failed.
    `fetched_before`: whoever reads has had these pictures once; one of which nothing is known (the cache was deleted)
    may be another now, and has a new revision. `stop` ends a `read` that waits for a server.
    """

    def __init__(
        self,
        folder: Path,
        settings: DownloadSettings,
        *,
        download: bool = True,
        retry_failed: bool = False,
        fetched_before: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._download = download
        self._retry_failed = retry_failed
        self._fetched_before = fetched_before
        self._stop = stop
        self._cache = Cache(folder)
        self._transfer = Transfer(settings)
        self._urls = Turns(1)  # two threads that want one picture fetch it once

    def read(self, name: str, url: str, cap: int) -> bytes:
        """The bytes of the picture at `url`, from the cache or from there. `name` (the local id, `#n` after it from the
        second picture on) names the cached file.

        Raises:
            DownloadRefused, DownloadFailed, NotDownloaded, TooManyBytes: it cannot be had.
            SourceError: the cache itself cannot be used (disk full, no permission).
            Stopped: a stop was asked for.
        """
        _check_text(url)
        with self._urls.turn(url, self._stop):
            row = self._cache.record.get(url)
            if row is not None and (data := self._cached(row, cap)) is not None:
                return data
            self._check_askable(url, row, cap)
            try:
                answer = self._transfer.fetch(url, cap, stop=self._stop)
            except Failure as failure:
                self._cache.fail(url, name, failure, self._rules(failure.why, cap))
                raise failure.error() from failure
            self._cache.keep(url, name, answer, surprising=self._fetched_before)
            return answer.data or b""

    def revisions(self, urls: Iterable[str]) -> Mapping[str, str]:
        """`<revision>:<etag>` of those URLs whose picture has changed since it was first fetched."""
        revised = self._cache.record.revised()
        return {url: revised[url] for url in urls if url in revised}

    def state(self) -> str:
        """A token that differs whenever any revision does; costs one small query."""
        return self._cache.record.state()

    def refresh(self, pictures: Iterable[tuple[str, str]], cap: int, stop: threading.Event) -> Refreshed:
        """Ask for the (name, url)s that are cached, or failed, whether they are still the same.

        A picture that cannot be had now stays as it is cached. One that differs is replaced, and has a new revision.

        Raises:
            SourceError: the cache itself cannot be used.
            Stopped: `stop` was set; what was found until then is kept.
        """
        return refresh_all(
            lambda name, url: self._refresh(name, url, cap, stop), pictures, self._settings.concurrency, stop
        )

    def close(self) -> None:
        """Let go of connections and files; a later use opens them again."""
        self._transfer.close()
        self._cache.record.close()

    def _refresh(self, name: str, url: str, cap: int, stop: threading.Event) -> tuple[Outcome, str]:
        with self._urls.turn(url, stop):
            row = self._cache.record.get(url)
            if row is None or not self._download or row.is_left_alone(time.time()):
                return Outcome.SKIPPED, ""
            whole = row.file is not None and self._cache.load(row) is not None
            known = row if whole else Row(url, name)  # what is damaged is asked for without conditions
            try:
                answer = self._transfer.fetch(url, cap, etag=known.etag, last_modified=known.last_modified, stop=stop)
            except Failure as failure:
                self._cache.fail(url, name, failure, self._rules(failure.why, cap))
                return Outcome.FAILED, failure.message.removeprefix(f"{shown(url)}: ")
            if answer.data is None:
                self._cache.confirm(row, answer)
                return Outcome.UNCHANGED, ""
            # The picture keeps the file it has, whichever of the ids that share it is asked about.
            changed = self._cache.keep(url, row.name if whole else name, answer, surprising=True)
            return Outcome.CHANGED if changed else Outcome.UNCHANGED, ""

    def _cached(self, row: Row, cap: int) -> bytes | None:
        if row.file is None:
            return None
        if row.size is not None and row.size > cap:
            raise TooManyBytes(
                f"{shown(row.url)}: {row.size:,} bytes are cached, and rgb.max_bytes = {cap:,}; raise it to accept the "
                "picture"
            )
        return self._cache.load(row)

    def _check_askable(self, url: str, row: Row | None, cap: int) -> None:
        """
        Raises:
            ItemError: the server is not to be asked: it has answered for good, or not now, or not by this run.
        """
        last = ""
        if row is not None and row.failure is not None:
            kind = KINDS.get(row.failure, DownloadFailed)
            final = not kind.retryable and row.rules == self._rules(row.why, cap)
            if final and not self._retry_failed:
                raise kind(row.message or shown(url))
            if row.is_left_alone(time.time()):
                until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.not_before))
                raise DownloadFailed(
                    f"{shown(url)}: answered {row.status}, and its server wants to be left alone until {until}; run "
                    "again after that"
                )
            last = f" (when last asked: {row.message})"
        if not self._download:
            raise NotDownloaded(
                f"{shown(url)}: is not in the cache, and nothing may be downloaded{last}; run with --download-missing, "
                "or set download.enabled to true"
            )

    def _rules(self, why: str | None, cap: int) -> str:
        """What a failure depended on beside the address: when that is changed, the failure says nothing any more."""
        if why == "address":
            return " ".join(sorted(map(canonical_host, self._settings.private_hosts)))
        return {
            "bytes": str(cap),
            "robots": str(self._settings.respect_noai),
            "redirects": str(self._settings.redirects),
        }.get(why or "", "")


def _check_text(url: str) -> None:
    try:
        url.encode()
    except UnicodeEncodeError as error:
        raise DownloadRefused(f"{shown(url)}: holds bytes that are no text; correct the address") from error
