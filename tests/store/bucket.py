"""An S3 service in this process (moto), which also answers requests of Google's API, and fails when told to."""

import base64
import hashlib
import itertools
import random
import threading
import time
import urllib.request
import uuid
from collections import Counter
from typing import NamedTuple

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

LOST = (
    "busy",
    "done, then busy",
    "done, then closed",
    "done, then late",
)  # faults of a put without a usable answer
LATE = 0.9  # seconds, longer than the time-out of the tests


class Seen(NamedTuple):
    """A request that came in, and what was done to it."""

    method: str
    path: str
    fault: str | None


class Service:
    """S3 over HTTP on a free port of this machine.

    moto looks for a name and then puts an object in two steps, and does not look at checksums; here both are as at
    Amazon: one put at a time, and a body that is not what its checksum says is refused.
    """

    def __init__(self):
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._putting = threading.Lock()
        self.seen: list[Seen] = []
        self.choose = lambda method, path: None  # the fault of a request, or None
        self.overwrites = False  # as services do that ignore conditions
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.create("runs")

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def create(self, bucket):
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT")).close()

    def fail(self, *faults, method="PUT", ending=""):
        """Give the next requests of this kind these faults, one each."""
        left = list(faults)
        self.choose = lambda verb, path: left.pop(0) if left and verb == method and path.endswith(ending) else None

    def fail_at_random(self, seed, rates):
        """Let requests of each method fail at this rate, by these faults in turn, twice in a row at a name at most."""
        rng, lock, row = random.Random(seed), threading.Lock(), Counter()
        turns = {method: itertools.cycle(faults) for method, (_, faults) in rates.items()}

        def choose(method, path):
            rate, _ = rates.get(method, (0, ()))
            with lock:
                fault = next(turns[method]) if rng.random() < rate and row[method, path] < 2 else None
                row[method, path] = row[method, path] + 1 if fault else 0
            return fault

        self.choose = choose

    def heal(self):
        self.choose, self.overwrites = lambda method, path: None, False
        self.seen.clear()

    def count(self, method):
        return sum(one.method == method for one in self.seen)

    def _answer(self, environ, start):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fault = self.choose(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        self.seen.append(Seen(environ["REQUEST_METHOD"], environ["PATH_INFO"], fault))
        if fault == "busy":
            return _say(start, "503 Slow Down")
        if fault == "forbidden":
            return _say(start, "403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")
        if fault == "elsewhere":
            return _say(start, "301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>")
        if fault == "damaged":
            body = bytes([body[0] ^ 1]) + body[1:]
        status, headers, answer = self._ask(environ, body)
        if fault == "done, then busy":
            return _say(start, "503 Slow Down")
        if fault == "done, then closed":
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionResetError
        if fault == "done, then late":
            time.sleep(LATE)
        if fault == "cut short":
            start(status, headers)
            return _half(answer, environ["werkzeug.socket"])
        return _say(start, status, answer, headers)

    def _ask(self, environ, body):
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS"):  # a request of Google's API
            environ["HTTP_AUTHORIZATION"] = "AWS4-HMAC-SHA256 Credential=someone/20260101/us-east-1/s3/aws4_request"
            if "HTTP_X_GOOG_COPY_SOURCE" in environ:
                environ["HTTP_X_AMZ_COPY_SOURCE"] = environ["HTTP_X_GOOG_COPY_SOURCE"]
            if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
                environ["HTTP_IF_NONE_MATCH"] = "*"
        checksum = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if checksum and base64.b64decode(checksum) != hashlib.sha256(body).digest():
            return "400 Bad Request", [], b"<Error><Code>BadDigest</Code></Error>"
        if self.overwrites:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        out = {}
        environ["wsgi.input"] = _Body(body)
        with self._putting:
            answer = b"".join(self._moto(environ, lambda status, headers, _=None: out.update(said=(status, headers))))
        return (*out["said"], answer)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as at Amazon

    def log(self, type, message, *args):
        pass


class _Body:
    def __init__(self, data):
        self._data = data

    def read(self, count=-1):
        count = len(self._data) if count is None or count < 0 else count
        out, self._data = self._data[:count], self._data[count:]
        return out


def _say(start, status, answer=b"", headers=None):
    start(status, headers or [("Content-Length", str(len(answer)))])
    return [answer]


def _half(answer, connection):
    yield answer[: len(answer) // 2]
    connection.shutdown(2)


def new(kind):
    name = f"run-{uuid.uuid4().hex[:8]}"
    return f"memory://{name}" if kind == "memory" else f"{kind}://runs/of/{name}"
