"""Computation of results in threads, before they are asked for."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 1
) -> Generator[Result, None, None]:
    """Applies a function to items in threads, and yields the results in the items' order.

    The calling thread takes items and uses results while the workers compute. It holds one item
    more than there are workers, so memory does not grow with the number of items.

    Args:
      function: the function; it is called in the workers' threads.
      items: the items, taken in the calling thread.
      workers: number of threads.
    """
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            # A caller that stops early does not wait for items that no worker has begun.
            for waiting in running:
                waiting.cancel()
