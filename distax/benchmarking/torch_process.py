"""The network in PyTorch, in a process of its own.

If both libraries ran in one process, waiting threads of one would slow down the other.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from distax.benchmarking.networks import Network
from distax.benchmarking.timing import Candidate
from distax.runtime.errors import DistaxError

EAGER, COMPILED = "PyTorch, eager", "PyTorch, compiled"


class TorchProcess:
    """A process that computes with PyTorch; it ends with its `with` block."""

    def __enter__(self) -> "TorchProcess":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "distax.benchmarking.torch_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def deviation(self, network: Network) -> float:
        """Returns the largest deviation of PyTorch from JAX; see `torch_worker.deviation`.

        Raises:
          DistaxError: PyTorch failed.
        """
        return float(self._ask("parity", network, False)["deviation"])

    def prepare(self, what: str, network: Network, compiled: bool) -> Candidate:
        """Prepares "inference" or "training" to be timed, compiled or eager.

        A call raises `DistaxError` if PyTorch fails.
        """
        peak: int | None = None

        def call() -> float:
            nonlocal peak
            reply = self._ask(what, network, compiled)
            peak = reply["peak_memory"]
            return float(reply["seconds"])

        return Candidate(call, peak_memory=lambda: peak)

    def _ask(self, what: str, network: Network, compiled: bool) -> dict[str, Any]:
        request = {"what": what, "network": asdict(network), "compiled": compiled}
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        try:
            pipes[0].write(json.dumps(request) + "\n")
            pipes[0].flush()
        except BrokenPipeError:
            raise DistaxError("PyTorch's process ended") from None
        line = pipes[1].readline()
        if not line:
            raise DistaxError("PyTorch's process ended")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise DistaxError(f"PyTorch failed: {reply['error']}")
        return reply
