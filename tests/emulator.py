"""A server of buckets on this machine, in place of Google Cloud Storage."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlencode
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
        def parse_request(self):
            understood = super().parse_request()
            if understood:
                emulator.watch(self.command, unquote(self.path))
            return understood

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "RequestHandler", Watched)
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
        # TensorStore asks for credentials, of which the server takes any.
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "any")
        with running:
            yield emulator
