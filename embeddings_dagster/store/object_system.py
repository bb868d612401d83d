"""The fsspec file system behind a URL, and what its errors mean to somebody who did not write it.

Its promise: credentials come from where the storage's own tools look for them, and from nowhere else; no message says
one. An error names the file and the remedy; a client's own words are left out, which may repeat what was sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from embeddings_dagster.errors import MissingExtra, StorageUnavailable, StoreError
from embeddings_dagster.settings import plain_address

S3 = ("s3", "s3a")
TRIES = 3  # of each request, beyond the five of the client below, which does not try again what breaks in mid-body
# No listing is remembered: it would hide other writers' commits. Memory of an upload: four pieces of 50 MB.
OPTIONS: dict[str, Any] = {"use_listings_cache": False}
S3_OPTIONS = {"max_concurrency": 4, "config_kwargs": {"read_timeout": 60}}
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}

PAGE = "docs/object-storage.md lists the rights it needs"
LATER = "What was committed is as it was; run again"
NO_CREDENTIALS = (
    "there are no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine "
    "a role; none of them belongs into the settings"
)
REFUSED = f"the credentials in force were refused, or may not do this. Correct them, or the bucket's policy: {PAGE}"
REGION = "the bucket is in another region than the one in force. Set AWS_REGION and AWS_DEFAULT_REGION to the bucket's"
UNREACHABLE = f"it cannot be reached. Look at the network, and at AWS_ENDPOINT_URL where that is set. {LATER}"
BUSY = f"the storage answers that it is busy or broken, however often it is asked. {LATER} later"
REASONS = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                     "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError"), NO_CREDENTIALS),
    "ProfileNotFound": "AWS_PROFILE names a profile that ~/.aws does not have. Correct it, or unset it",
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken",
                     "ExpiredToken", "TokenRefreshRequired", "InvalidSecurity", "401", "403", "Forbidden",
                     "PermissionError"), REFUSED),
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than the storage accepts. Set it",
    "NoSuchBucket": "there is no such bucket. Create it, or correct `data` in the settings",
    **dict.fromkeys(("InvalidBucketName", "ParamValidationError"),
                    "that is not the name of a bucket. Correct `data` in the settings"),
    "ValueError": "that is no address. Correct AWS_ENDPOINT_URL, which begins with https:// or http://",
    "400": "the credentials in force have expired, or the bucket is in another region. Renew them, or set "
           "AWS_DEFAULT_REGION to the bucket's",
    **dict.fromkeys(("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
                     "IllegalLocationConstraintException", "301", "307", "NoRegionError"), REGION),
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError",
                     "ProxyConnectionError", "SSLError", "HTTPClientError", "ConnectionError", "FSTimeoutError",
                     "TimeoutError", "ConnectionRefusedError", "ConnectionResetError", "ClientPayloadError",
                     "IncompleteReadError", "InvalidProxiesConfigError"), UNREACHABLE),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "500", "502",
                     "503", "504", "ResponseParserError", "OperationAborted", "ConditionalRequestConflict"), BUSY),
}  # fmt: skip


def require_plain(url: str) -> str:
    """The URL as it is. Raises StoreError where it holds what does not belong into one."""
    try:
        return plain_address(url)
    except ValueError as error:
        raise StoreError(str(error)) from None


def file_system(url: str) -> tuple[Any, str]:
    """The file system of `url`, and the path of `url` in it.

    Raises:
        StoreError: nothing is known of such a URL, or its package is not installed.
        MissingExtra: it is S3's, and the extra is not installed.
    """
    from fsspec.core import url_to_fs  # a local root never pays for the import

    scheme = url.partition("://")[0]
    try:
        system, path = url_to_fs(url, **OPTIONS, **(S3_OPTIONS if scheme in S3 else {}))
    except ImportError as error:
        if scheme in S3:
            raise MissingExtra("s3", "s3fs", f"a store at {url}") from error
        package = PACKAGES.get(scheme)
        raise StoreError(
            f"a store at {url} needs fsspec's package for {scheme}://, which is not installed"
            + (f". Install it with: pip install {package}" if package else f" ({error})")
        ) from error
    except ValueError as error:
        raise StoreError(f"{url}: fsspec knows no storage of that kind; s3:// is what is tested here") from error
    if scheme in S3:
        system.retries = TRIES
    return system, cast(str, path)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Says what failed at `url` and what to do, where the storage or its client fails. FileNotFoundError and
    FileExistsError of the file itself are passed on.

    Raises:
        StorageUnavailable: the storage refused, could not be reached, or failed.
    """
    try:
        yield
    except Exception as error:
        code = code_of(error)
        if isinstance(error, StoreError):
            raise
        if isinstance(error, FileNotFoundError | FileExistsError) and code != "NoSuchBucket":
            raise
        if not isinstance(error, OSError | ValueError) and not _is_of_a_client(error):
            raise
        reason = REASONS.get(code) or REASONS.get(type(error).__name__) or f"the storage failed. {LATER}"
        raise StorageUnavailable(f"{url}: {reason} ({code}).") from None  # a client's words may repeat what it sent


def code_of(error: BaseException) -> str:
    """What the storage calls an error, such as `SlowDown`; the name of its class, where the storage said nothing."""
    for each in (error, error.__cause__, error.__context__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def _is_of_a_client(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs", "urllib3")
               for kind in type(error).__mro__)  # fmt: skip
