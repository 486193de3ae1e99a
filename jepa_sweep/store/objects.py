"""A store in a bucket: S3 and what speaks its language, Google Cloud Storage, or the memory of this process.

A put of one object is atomic, and its create-only form is what a link is to a folder. An answer can be lost on its
way after the put was done, and the put, repeated, then meets its own object: what stands under the name decides.
Credentials, region and endpoint come from the environment: AWS_*, GOOGLE_*.
"""

import contextlib
import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.store.location import DAMAGED, STAGING, Missing
from jepa_sweep.store.writers import process

try:
    import obstore
    from obstore import exceptions
    from obstore.store import GCSStore, MemoryStore, S3Store
except ImportError as error:  # an extra: folders need none of it
    raise SpecError(
        "Paths like s3://bucket/run need obstore, but it is not installed; try `pip install 'jepa_sweep[cloud]'`."
    ) from error

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")

CONNECT = timedelta(seconds=10)  # a service that is up answers within one or two
REQUEST = timedelta(minutes=5)  # of one whole request: an object of 100 MB at 0.4 MB a second
PATIENCE = timedelta(minutes=1)  # services that are busy or move house are back within it
TRIES = 3  # at least, where each takes longer than that
PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between tries: doubled each time, and spread, so that writers do not meet

_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("GOOGLE_BASE_URL",), "memory": ()}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`aws configure export-credentials --format env` shows those of"
    " a profile)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (`gcloud auth application-default login` makes such a file)",
    "memory": "",
}
_AGAIN = "and run the same command again"
_NOBODY = r"169\.254\.|latest/api/token|computeMetadata|: Missing (Access|Secret)"  # machines of a cloud ask there
_REMEDIES = (  # what an error says -> what to do about it; the first that fits
    (r"NoSuchBucket|^FileNotFoundError", "there is no such bucket; create it, or check the name"),
    (_NOBODY, "no credentials were found; set {credentials}"),
    (r"service account|[Cc]redentials", "the credentials cannot be used; check {credentials}"),
    (r"kind: Timeout", f"the service did not answer in time; check the network, {_AGAIN}"),
    (r"kind: Connect|dns error", f"the service cannot be reached; check the network and {{endpoint}}, {_AGAIN}"),
    (
        r"status code: 40[13]|PermissionDenied|Unauthenticated|InvalidAccessKey|ExpiredToken|[Tt]oken ?[Rr]equest",
        "there is no permission; check {credentials}, and what they may do in this bucket",
    ),
    (r"[Rr]edirect|AuthorizationHeaderMalformed", "the bucket is in another region; set AWS_REGION to it"),
    (r"NotImplemented|NotSupported|status code: 501", "the service cannot do this; choose another one, or a folder"),
    (r"status code: (5|429)", f"the service is busy or out of order; wait a little, {_AGAIN}"),
    (r"", f"the service did not do it; wait a little, {_AGAIN}"),
)
# These would say the same again; 412 may be about an object of ours that only now is seen.
_DEFINITE = (
    rf"status code: 4(?!00|08|09|12|29)|NoSuchBucket|{_NOBODY}|builder error|^NotImplemented|^NotSupported|^InvalidPath"
    "|^PermissionDenied|^Unauthenticated|<Code>NotImplemented|[Rr]edirect|AuthorizationHeaderMalformed"
)

_ERRORS = (exceptions.BaseError, NotImplementedError)  # the second, Python's own, for what a kind of store cannot do

_memories: dict[str, MemoryStore] = {}  # by name, so that opening one again finds what was put there


class Bucket:
    """The objects of a bucket under a prefix, a `Location`. Several threads may use it at once."""

    def __init__(self, url: str) -> None:
        """Raises `SpecError` if the URL is none of a bucket; nothing is sent yet."""
        self.path = url.rstrip("/")
        match = re.fullmatch(r"(s3|gs|memory)://([^/]+)(?:/+(.*))?", self.path)
        if not match:
            raise SpecError(
                f"A store must lie in a folder, or at s3://bucket/name, gs://bucket/name or memory://name, but `{url}` "
                "was given; check the path."
            )
        self._scheme, bucket, prefix = match.groups()
        try:
            self._store = _opened(self._scheme, bucket, prefix, self.path)
        except (exceptions.BaseError, OSError) as error:
            raise self._refused("open", "", error) from error
        self._tried = False  # that the service refuses a name that is taken

    def __repr__(self) -> str:
        return f"Bucket({self.path!r})"

    def __str__(self) -> str:
        return self.path

    @property
    def title(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def where(self, name: str) -> str:
        return f"{self.path}/{name}".rstrip("/")

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        return self._patiently("read", name, lambda: bytes(obstore.get(self._store, name).bytes()))

    def read_end(self, name: str, count: int) -> bytes:

        def end() -> bytes:
            try:
                return bytes(obstore.get(self._store, name, options={"range": {"suffix": count}}).bytes())
            except exceptions.GenericError as error:
                # An empty object has no range; some services know of none.
                if not re.search(r"status code: 416|non-partial", str(error)):
                    raise
                whole = bytes(obstore.get(self._store, name).bytes())
                return whole[max(0, len(whole) - count) :]

        return self._patiently("read", name, end)

    def exists(self, name: str) -> bool:
        with contextlib.suppress(Missing):
            return bool(self._patiently("look at", name, lambda: obstore.head(self._store, name)))
        return False

    def names(self, folder: str, suffix: str = "") -> list[str]:
        found = self._patiently("list", folder, lambda: obstore.list_with_delimiter(self._store, folder)["objects"])
        names = (meta["path"].rsplit("/", 1)[-1] for meta in found)
        return sorted(name for name in names if name.endswith(suffix))

    def walk(self) -> list[str]:
        found = self._patiently("list", "", lambda: obstore.list(self._store).collect())
        return sorted(meta["path"] for meta in found)

    # --- writing ------------------------------------------------------------------------------------------------------

    def prepare(self, folders: tuple[str, ...]) -> None:
        """Buckets have no folders, but must be there, and refuse a name that is taken."""
        del folders
        if self._tried:
            return
        name = f"{STAGING}/{process(os.getpid())}-{uuid.uuid4().hex}.probe"
        self.publish(name, b"first")
        try:
            if self.publish(name, b"second"):
                raise StorageError(
                    f"{self.path} must refuse to put an object under a name that is taken (`If-None-Match: *`), but it "
                    "overwrites, and several writers would store points twice; choose another service, or a folder."
                )
        finally:
            self.unmark(name)
        self._tried = True

    def publish(self, name: str, data: bytes) -> bool:
        """True also if an object of the same bytes was there: a put of ours whose answer was lost."""

        def once() -> bool:
            try:
                answer = obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except _ERRORS as error:
                if _definite(error):
                    raise
                # Refused, perhaps for our own sake; or a time-out, a lost connection: perhaps it was done.
                try:
                    return self._holds(name, data)
                except FileNotFoundError:
                    raise error from None
            # S3 has compared a checksum; Google says that of what it holds, unless it keeps it encrypted.
            if self._scheme == "gs" and _md5(data) not in (answer["e_tag"] or "") and not self._holds(name, data):
                raise StorageError(f"Could not write {self.where(name)}: it did not read back as written; run again.")
            return True

        return self._patiently("write", name, once)

    def set_aside(self, name: str) -> None:
        target = f"{DAMAGED}/{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}.damaged"

        steps = (lambda: obstore.copy(self._store, name, target), lambda: obstore.delete(self._store, name))
        with contextlib.suppress(Missing):  # by then, or taken by another
            found = self._patiently("look at", name, lambda: obstore.head(self._store, name)["e_tag"])
            for step in steps:
                # Another may have mended it by now; its tag is then another too.
                if self._patiently("look at", name, lambda: obstore.head(self._store, name)["e_tag"]) == found:
                    self._patiently("set aside", name, step)

    def mark(self, name: str) -> None:
        self._patiently("write", name, lambda: obstore.put(self._store, name, b"", use_multipart=False))

    def unmark(self, name: str) -> None:
        # Whatever stands in the way of this will stop something that matters.
        with contextlib.suppress(*_ERRORS, OSError):
            obstore.delete(self._store, name)

    # --- what services do -----------------------------------------------------------------------------------------

    def _holds(self, name: str, data: bytes) -> bool:
        """True if these bytes stand under this name; the first are read only if there are as many."""
        found = obstore.get(self._store, name)
        return found.meta["size"] == len(data) and bytes(found.bytes()) == data

    def _patiently(self, action: str, name: str, call: Callable[[], T]) -> T:
        """Its result, after several tries if need be: every call made here may be repeated."""
        until = time.monotonic() + PATIENCE.total_seconds()
        number = 0
        while True:
            number += 1
            try:
                return call()
            except StorageError:
                raise
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error) or action == "write":
                    raise self._refused(action, name, error) from error
                raise Missing(f"There must be an object {self.where(name)}, but it is missing.") from None
            except (*_ERRORS, OSError) as error:
                if _definite(error) or (number >= TRIES and time.monotonic() > until):
                    raise self._refused(action, name, error) from error
            time.sleep(min(PAUSE * 2**number, LONGEST_PAUSE) * random.uniform(0.5, 1))

    def _refused(self, action: str, name: str, error: Exception) -> StorageError:
        remedy = next(sentence for pattern, sentence in _REMEDIES if re.search(pattern, _said(error)))
        remedy = remedy.format(
            credentials=_CREDENTIALS[self._scheme], endpoint=" or ".join(_ENDPOINTS[self._scheme]) or "the path"
        )
        # The rest of the text is obstore's own state.
        first = str(error).split("\n")[0].split("status code: ")[-1]
        first = " ".join(re.sub(r"<[^>]*>", " ", first).split())
        return StorageError(f"Could not {action} {self.where(name)}: {remedy} ({first[:120].rstrip(' :.')}).")


def _opened(scheme: str, bucket: str, prefix: str | None, url: str) -> "ObjectStore":
    if scheme == "memory":
        return _memories.setdefault(url, MemoryStore())
    options: ClientConfig = {"connect_timeout": CONNECT, "timeout": REQUEST}
    for key in _ENDPOINTS[scheme]:
        endpoint = os.environ.get(key)
        if endpoint and not re.match(r"https?://[^/]+", endpoint):
            raise SpecError(f"`{key}` must be a URL like https://host, but it is `{endpoint}`; change or unset it.")
        if endpoint and endpoint.startswith("http://"):  # a service of one's own
            options["allow_http"] = True
    # Patience is here in Python, where a keyboard can interrupt it; what obstore repeats by itself is soon over.
    retries: RetryConfig = {"max_retries": 2, "retry_timeout": CONNECT}
    if scheme == "gs":
        return GCSStore(bucket, prefix=prefix or None, client_options=options, retry_config=retries)
    # The service compares what arrives with its checksum, and refuses what was damaged on the way.
    return S3Store(
        bucket, prefix=prefix or None, client_options=options, retry_config=retries, checksum_algorithm="sha256"
    )


def _definite(error: Exception) -> bool:
    """True if a try again would get the same answer."""
    return bool(re.search(_DEFINITE, _said(error)))


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
