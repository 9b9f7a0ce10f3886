"""A server of buckets on this machine, in place of Google Cloud Storage."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import pytest

BUCKET = "bucket"


class Emulator:
    """The server's bucket, seen without distax and its packages.

    Attributes:
      watch: called with the method and the path of every request, before it is answered.
    """

    def __init__(self, storage):
        self._storage = storage
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
        about = {"name": name, "bucket": BUCKET, "size": str(len(content)), "generation": "1"}
        about |= {"metageneration": "1", "contentType": "application/octet-stream"}
        self._storage.create_file(BUCKET, name, content, about)


@contextmanager
def running() -> Iterator[Emulator]:
    """Runs the server, and points the clients of this process and of those it starts to it."""
    server = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    emulator = Emulator(running._storage)

    class Watched(server.RequestHandler):
        def parse_request(self):
            understood = super().parse_request()
            if understood:
                emulator.watch(self.command, unquote(self.path))
            return understood

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "RequestHandler", Watched)
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{port}")
        # TensorStore asks for credentials, of which the server takes any.
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "any")
        with running:
            yield emulator
