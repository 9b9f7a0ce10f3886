"""A server of buckets on this machine, in place of Google Cloud Storage."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest

BUCKET = "bucket"


class Emulator:
    """The server's bucket, seen without distax and its packages.

    Attributes:
      watch: called with the method and the path of every request, before it is answered.
    """

    def __init__(self, storage, address):
        self._storage, self._address = storage, address
        self.watch: Callable[[str, str], None] = lambda method, path: None

    def names(self, prefix=""):
        """Returns the names of the objects that begin with a prefix."""
        objects, _ = self._storage.get_file_list(BUCKET, prefix)
        return sorted(about["name"] for about in objects)

    def read(self, name):
        """Returns the content of an object."""
        return bytes(self._storage.get_file(BUCKET, name))

    def generation(self, path):
        """Returns the generation of the object that a request is about; None if there is none."""
        from gcp_storage_emulator.exceptions import NotFound

        address = urlsplit(path)
        (name,) = parse_qs(address.query).get("name", [unquote(address.path.partition("/o/")[2])])
        try:
            about = self._storage.get_file_obj(BUCKET, name)
        except NotFound:
            return None
        return about["generation"]

    def write(self, name, content):
        """Stores an object."""
        query = urlencode({"uploadType": "media", "name": name})
        address = f"{self._address}/upload/storage/v1/b/{BUCKET}/o?{query}"
        head = {"Content-Type": "application/octet-stream"}
        urlopen(Request(address, content, head, method="POST"), timeout=60).close()


@contextmanager
def running() -> Iterator[Emulator]:
    """Runs the server, and points the clients of this process and of those it starts to it."""
    server = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    address = f"http://127.0.0.1:{port}"
    emulator = Emulator(running._storage, address)

    class Watched(server.RequestHandler):
        """Answers one request at a time, with the generations that TensorStore relies on.

        The server has no generations in its answers, looks at no condition on them, and reads
        objects while another thread writes them.
        """

        generation = None

        def parse_request(self):
            understood = super().parse_request()
            if understood:
                emulator.watch(self.command, unquote(self.path))
            return understood

        def do_GET(self):  # noqa: N802
            with lock:
                self.generation = emulator.generation(self.path)
                known = self.condition("ifGenerationNotMatch")
                if known is not None and known == (self.generation or "0"):
                    self.refuse(304)
                else:
                    super().do_GET()

        def do_POST(self):  # noqa: N802
            with lock:
                wanted = self.condition("ifGenerationMatch")
                if wanted not in (None, emulator.generation(self.path) or "0"):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.refuse(412)
                else:
                    super().do_POST()

        def do_DELETE(self):  # noqa: N802
            with lock:
                super().do_DELETE()

        def end_headers(self):
            if self.command == "GET" and self.generation:
                self.send_header("x-goog-generation", self.generation)
            super().end_headers()

        def condition(self, name):
            (value,) = parse_qs(urlsplit(self.path).query).get(name, [None])
            return value

        def refuse(self, status):
            self.send_response(status)
            self.end_headers()

    lock = threading.Lock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "RequestHandler", Watched)
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
        # TensorStore asks for credentials, of which the server takes any.
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "any")
        with running:
            yield emulator
