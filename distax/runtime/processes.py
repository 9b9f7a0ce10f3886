"""Clusters of processes: each drives its own devices, and all run the same program.

JAX connects them: after `join`, `jax.devices()` lists the devices of all processes, and compiled
functions communicate between them. Every process must call the same functions that communicate, in
the same order. A process that ends alone leaves the others waiting in such a function. So an error
in one process ends it at once (see `member`), which breaks the connections and ends the others.
"""

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Timer
from typing import NoReturn

import jax

from distax.runtime.errors import DistaxError, Terminated, first_line
from distax.runtime.memory import lack_of_memory
from distax.runtime.terminal import tell

# Seconds that JAX waits longer than distax for the processes to meet, so that the process ends with
# distax's message and not with JAX's.
_GRACE = 30


@dataclass(frozen=True)
class Cluster:
    """Address and size of a group of processes that train together.

    Attributes:
      coordinator: address and port of process 0, such as 10.0.0.1:8476; None to read it from the
        environment (Cloud TPU, GKE, SLURM, Open MPI, Kubernetes).
      process_count: number of processes; None to read it from the environment.
      process_id: this process's number, from 0; None to read it from the environment.
      timeout: seconds to wait for the other processes at the start.
      heartbeat: seconds of silence after which a process counts as dead and the others are ended.
    """

    coordinator: str | None = None
    process_count: int | None = None
    process_id: int | None = None
    timeout: int = 300
    heartbeat: int = 60


def join(cluster: Cluster) -> None:
    """Connects this process with the others; afterwards `jax.devices()` lists all their devices.

    Must be called before JAX is used for anything else. If the others do not arrive in time, this
    process ends with status 1 and one line on standard error. It does not raise, because JAX's
    wait cannot be interrupted. When one process dies later, JAX ends the others.

    Raises:
      DistaxError: the cluster is described incompletely or wrongly, or it is not described and the
        environment has no cluster that JAX recognises.
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
    with _time_limit(cluster.timeout, _timeout_message(cluster)):
        try:
            jax.distributed.initialize(
                *described,
                initialization_timeout=cluster.timeout + _GRACE,
                heartbeat_timeout_seconds=cluster.heartbeat,
            )
        except (ValueError, RuntimeError) as error:
            problem = first_line(error)
            if cluster.coordinator is None:
                problem = f"the environment describes no cluster ({problem})"
            raise DistaxError(
                f"{problem}; give the coordinator's address, the number of processes and this "
                "one's number"
            ) from error


@contextmanager
def member(cluster: Cluster) -> Iterator[None]:
    """Makes this process a member of a cluster within the block; see `join`.

    An error in the block ends the process at once, with the error's message. The others, which wait
    for it, then end too.
    """
    join(cluster)
    try:
        yield
    except DistaxError as error:
        _exit_now(str(error))
    except jax.errors.JaxRuntimeError as error:
        ended = f"another process of the cluster has probably ended ({first_line(error)})"
        _exit_now(lack_of_memory(error) or f"{ended}; start all again")
    except Terminated:
        raise  # all processes end after the same step
    except KeyboardInterrupt:
        _exit_now("interrupted", status=130)
    except Exception:
        traceback.print_exc()
        _exit_now("ended by the error above")


def sharing(distributed: bool, cluster: Cluster) -> AbstractContextManager[None]:
    """Returns the context of a command's work: as `member` of a cluster, or alone.

    Args:
      distributed: True for a member of the cluster.
      cluster: the cluster; its default for a process alone.

    Raises:
      DistaxError: a cluster is described for a process alone.
    """
    if distributed:
        return member(cluster)
    if cluster != Cluster():
        raise DistaxError("the options of --cluster need --distributed")
    return nullcontext()


def _exit_now(message: str, status: int = 1) -> NoReturn:
    # An orderly exit runs JAX's shutdown, which waits for all processes to exit.
    tell(message)
    os._exit(status)


def _timeout_message(cluster: Cluster) -> str:
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
def _time_limit(seconds: float, message: str) -> Iterator[None]:
    """Ends the process with a message if the block takes longer than a number of seconds."""

    timer = Timer(seconds, _exit_now, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
