"""A store in a bucket: S3 and compatible services, Google Cloud Storage, or the memory of this process.

Putting an object under a name that is free is atomic, as linking a file is in a folder. The answer to a put that was
done may be lost; the put is then repeated and refused, and whether the object is ours is seen by reading it.
Credentials, region and endpoint come from the environment: AWS_*, GOOGLE_*.
"""

import contextlib
import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from jepa_sweep.checks import extra
from jepa_sweep.errors import IntegrityError, SpecError, StorageError
from jepa_sweep.store.location import DAMAGED, MOST_BYTES, REPAIR, STAGING, Missing, TooLarge, check_name
from jepa_sweep.store.writer_names import process

with extra("Paths like s3://bucket/run need obstore", "cloud"):  # folders need none of it
    import obstore
    from obstore import exceptions
    from obstore.store import GCSStore, MemoryStore, S3Store

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, ObjectStore

T = TypeVar("T")

CONNECT_TIMEOUT = timedelta(seconds=10)  # a service that is up answers within one or two
REQUEST_TIMEOUT = timedelta(minutes=5)  # of one whole request: an object of 100 MB at 0.4 MB a second
RETRY_S = 60.0  # a call that fails is repeated for so long: services that are busy or restart are back by then
FEWEST_TRIES = 3  # even where they take longer than that
PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0  # between tries: doubled each time, and drawn at random so that writers spread

_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("GOOGLE_BASE_URL",), "memory": ()}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`aws configure export-credentials --format env` shows those of"
    " a profile)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (`gcloud auth application-default login` makes such a file)",
    "memory": "",
}
_AGAIN = "and run the same command again"
# Where machines of a cloud ask for credentials if none are set.
_NO_CREDENTIALS = r"169\.254\.|latest/api/token|computeMetadata|: Missing (Access|Secret)"
_REMEDIES = (  # what an error says -> what to do about it; the first that fits
    (r"NoSuchBucket|^FileNotFoundError", "there is no such bucket; create it, or check the name"),
    (_NO_CREDENTIALS, "no credentials were found; set {credentials}"),
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
# Errors that a repeated call would meet again. Not 412: it may be about an object of ours, put by a call before.
_FINAL = (
    rf"status code: 4(?!00|08|09|12|29)|{_NO_CREDENTIALS}|NoSuchBucket|builder error|^NotImplemented|^NotSupported"
    "|^InvalidPath|^PermissionDenied|^Unauthenticated|<Code>NotImplemented|[Rr]edirect|AuthorizationHeaderMalformed"
)

_ERRORS = (exceptions.BaseError, NotImplementedError)  # the second is raised for what a kind of store cannot do

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
        self._probed = False  # whether the service refuses a name that is taken

    def where(self, name: str) -> str:
        return f"{self.path}/{name}".rstrip("/")

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        return self._repeated("read", name, lambda: bytes(self._found(name, most).bytes()))

    def digest(self, name: str, most: int) -> str:

        def once() -> str:
            digest = hashlib.sha256()
            for piece in self._found(name, most).stream():
                digest.update(piece)
            return digest.hexdigest()

        return self._repeated("read", name, once)

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

        return self._repeated("read", name, end)

    def exists(self, name: str) -> bool:
        with contextlib.suppress(Missing):
            return bool(self._repeated("look at", name, lambda: obstore.head(self._store, name)))
        return False

    def names(self, folder: str, suffix: str = "") -> list[str]:
        check_name(folder, self.path)
        found = self._repeated("list", folder, lambda: obstore.list_with_delimiter(self._store, folder)["objects"])
        names = (meta["path"].rsplit("/", 1)[-1] for meta in found)
        return sorted(name for name in names if name.endswith(suffix))

    def walk(self) -> list[str]:
        found = self._repeated("list", "", lambda: obstore.list(self._store).collect())
        return sorted(meta["path"] for meta in found)

    def misplaced(self, folders: Sequence[str]) -> dict[str, str]:
        del folders  # buckets have none
        return {}

    def _found(self, name: str, most: int) -> "GetResult":
        """An object of at most so many bytes, of which none is read yet."""
        found = obstore.get(self._store, name)
        if found.meta["size"] > most:
            raise TooLarge(
                f"{self.where(name)} is damaged: it must have at most {most:,} bytes, but it has "
                f"{found.meta['size']:,}; {REPAIR}."
            )
        return found

    # --- writing ------------------------------------------------------------------------------------------------------

    def prepare(self, folders: tuple[str, ...]) -> None:
        del folders  # buckets have none, but they must be there, and refuse a name that is taken
        if self._probed:
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
        self._probed = True

    def publish(self, name: str, data: bytes) -> bool:
        """True also if an object of the same bytes is there: it may be a put of ours whose answer was lost."""

        def once() -> bool:
            try:
                answer = obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except _ERRORS as error:
                if _final(error):
                    raise
                # The name is taken, perhaps by us; or there was no answer, and perhaps it was done.
                try:
                    return self._holds(name, data)
                except FileNotFoundError:
                    raise error from None
            # S3 has compared a checksum. Google tells that of what it holds, unless it keeps it encrypted.
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if self._scheme == "gs" and md5 not in (answer["e_tag"] or "") and not self._holds(name, data):
                raise StorageError(f"Could not write {self.where(name)}: it did not read back as written; run again.")
            return True

        return self._repeated("write", name, once)

    def set_aside(self, name: str) -> None:
        target = f"{DAMAGED}/{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}.damaged"

        def tag() -> str | None:
            return self._repeated("look at", name, lambda: obstore.head(self._store, name)["e_tag"])

        with contextlib.suppress(Missing):  # by then, or set aside by another
            found = tag()
            for step in (lambda: obstore.copy(self._store, name, target), lambda: obstore.delete(self._store, name)):
                if tag() == found:  # else another writer has replaced it by now
                    self._repeated("set aside", name, step)

    def mark(self, name: str) -> None:
        self._repeated("write", name, lambda: obstore.put(self._store, name, b"", use_multipart=False))

    def unmark(self, name: str) -> None:
        with contextlib.suppress(*_ERRORS, OSError, IntegrityError):
            check_name(name, self.path)
            obstore.delete(self._store, name)

    # --- repeating calls ----------------------------------------------------------------------------------------------

    def _holds(self, name: str, data: bytes) -> bool:
        """True if these bytes stand under this name; the first are read only if there are as many."""
        found = obstore.get(self._store, name)
        return found.meta["size"] == len(data) and bytes(found.bytes()) == data

    def _repeated(self, action: str, name: str, call: Callable[[], T]) -> T:
        """The result of a call, which is repeated where it fails; every call made here may be done twice.

        Most repetitions are ours, not obstore's, because a call of obstore cannot be interrupted from the keyboard.
        """
        if (action, name) != ("list", ""):  # of which all are listed
            check_name(name, self.path)
        until, tries = time.monotonic() + RETRY_S, 0
        while True:
            tries += 1
            try:
                return call()
            except StorageError:
                raise
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error) or action == "write":
                    raise self._refused(action, name, error) from error
                raise Missing(f"There must be an object {self.where(name)}, but it is missing.") from None
            except (*_ERRORS, OSError) as error:
                if _final(error) or (tries >= FEWEST_TRIES and time.monotonic() > until):
                    raise self._refused(action, name, error) from error
            time.sleep(min(PAUSE_S * 2**tries, LONGEST_PAUSE_S) * random.uniform(0.5, 1))

    def _refused(self, action: str, name: str, error: Exception) -> StorageError:
        remedy = next(sentence for pattern, sentence in _REMEDIES if re.search(pattern, _said(error)))
        remedy = remedy.format(
            credentials=_CREDENTIALS[self._scheme], endpoint=" or ".join(_ENDPOINTS[self._scheme]) or "the path"
        )
        # Only the first line is for users; the rest is obstore's own state.
        first = str(error).split("\n")[0].split("status code: ")[-1]
        first = " ".join(re.sub(r"<[^>]*>", " ", first).split())
        return StorageError(f"Could not {action} {self.where(name)}: {remedy} ({first[:120].rstrip(' :.')}).")


def _opened(scheme: str, bucket: str, prefix: str | None, url: str) -> "ObjectStore":
    if scheme == "memory":
        return _memories.setdefault(url, MemoryStore())
    options: ClientConfig = {"connect_timeout": CONNECT_TIMEOUT, "timeout": REQUEST_TIMEOUT}
    for key in _ENDPOINTS[scheme]:
        endpoint = os.environ.get(key)
        if endpoint and not re.match(r"https?://[^/]+", endpoint):
            raise SpecError(f"`{key}` must be a URL like https://host, but it is `{endpoint}`; change or unset it.")
        if endpoint and endpoint.startswith("http://"):  # a service of one's own
            options["allow_http"] = True
    retries = {"max_retries": 2, "retry_timeout": CONNECT_TIMEOUT}  # few: see `_repeated`
    shared: Any = {"prefix": prefix or None, "client_options": options, "retry_config": retries}
    if scheme == "gs":
        return GCSStore(bucket, **shared)
    # The service compares what arrives with its checksum, and refuses what was damaged on the way.
    return S3Store(bucket, checksum_algorithm="sha256", **shared)


def _final(error: Exception) -> bool:
    """True if a repeated call would meet the same error."""
    return bool(re.search(_FINAL, _said(error)))


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"
