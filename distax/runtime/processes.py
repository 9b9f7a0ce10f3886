"""Several processes as one: each drives its own devices, all compute the same program."""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import NoReturn

import jax

from distax.runtime.errors import DistaxError, Terminated

# Time that JAX gives processes to meet beyond ours, so that the message is ours.
_GRACE = 30


@dataclass(frozen=True)
class Cluster:
    """Where the processes of a run meet.

    Attributes:
      coordinator: address and port of process 0, such as 10.0.0.1:8476; None where the
        environment tells (Cloud TPU, GKE, SLURM, Open MPI, Kubernetes).
      process_count: number of processes.
      process_id: this one's number, from 0.
      timeout: seconds to wait for the others.
      heartbeat: seconds of silence after which a process counts as dead and the others are ended.
    """

    coordinator: str | None = None
    process_count: int | None = None
    process_id: int | None = None
    timeout: int = 300
    heartbeat: int = 60


def join(cluster: Cluster) -> None:
    """Meet the other processes; from here on `jax.devices()` are those of all.

    To be called before anything else of JAX. The whole process ends with status 1 and one line on
    standard error if the others are not there in time, because JAX cannot give up waiting. When
    one process dies later, JAX ends the others.

    Raises:
      DistaxError: no cluster is recognised and none is described, or incompletely.
    """
    described = (cluster.coordinator, cluster.process_count, cluster.process_id)
    if any(value is None for value in described) and described != (None, None, None):
        raise DistaxError(
            "a cluster is described by the coordinator's address, the number of processes and "
            "this one's number together; give all three or none"
        )
    if cluster.coordinator is not None and not re.fullmatch(r".+:\d+", cluster.coordinator):
        raise DistaxError(
            f"the coordinator is an address and a port such as 10.0.0.1:8476, not "
            f"{cluster.coordinator!r}"
        )
    count, number = cluster.process_count, cluster.process_id
    if count is not None and number is not None and not 0 <= number < count:
        raise DistaxError(f"process {number} is not one of {count}: they are numbered from 0")
    with _ends_after(cluster.timeout, _nobody_there(cluster)):
        try:
            jax.distributed.initialize(
                *described,
                initialization_timeout=cluster.timeout + _GRACE,
                heartbeat_timeout_seconds=cluster.heartbeat,
            )
        except (ValueError, RuntimeError) as error:
            problem = str(error).strip().splitlines()[0]
            if cluster.coordinator is None:
                problem = f"the environment tells of no cluster ({problem})"
            raise DistaxError(
                f"{problem}; give the coordinator's address, the number of processes and this "
                "one's number"
            ) from error


@contextmanager
def member(cluster: Cluster) -> Iterator[None]:
    """Within the block this process is one of a cluster; see `join`.

    An error ends the process at once, with its message: the others, who wait for it, then end too.
    """
    join(cluster)
    try:
        yield
    except DistaxError as error:
        _leave(str(error))
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200]
        _leave(f"another process of the cluster has probably ended ({reason}); start all again")
    except Terminated:
        raise  # all processes end together
    except KeyboardInterrupt:
        _leave("interrupted", status=130)
    except Exception:
        traceback.print_exc()
        _leave("ended by the error above")


def _leave(message: str, status: int = 1) -> NoReturn:
    # An orderly exit would wait for all processes to reach theirs.
    print(f"distax: {message}", file=sys.stderr, flush=True)
    os._exit(status)


def _nobody_there(cluster: Cluster) -> str:
    if cluster.coordinator is None:
        return f"the processes of the cluster did not meet within {cluster.timeout} s"
    if cluster.process_id == 0:
        return (
            f"waited {cluster.timeout} s at {cluster.coordinator} for {cluster.process_count} "
            "processes; start the others with that address, or allow more time"
        )
    return (
        f"the coordinator {cluster.coordinator} could not be reached within {cluster.timeout} s; "
        "is process 0 running there, and the port open?"
    )


@contextmanager
def _ends_after(seconds: float, message: str) -> Iterator[None]:
    """End the process with a message if the block takes longer."""

    timer = Timer(seconds, _leave, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
