import threading
import time

import pytest

from distax.runtime.ahead import map_ahead


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 10])
def test_results_come_in_order_and_from_other_threads(workers, length):
    def work(item):
        time.sleep(0.01 * (item % 3))
        return item**2, threading.get_ident()

    results = list(map_ahead(work, iter(range(length)), workers))
    assert [square for square, _ in results] == [item**2 for item in range(length)]
    threads = {thread for _, thread in results}
    assert len(threads) <= workers
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("workers", [1, 3])
def test_few_items_are_held_at_once(workers):
    taken, used = [], []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    for result in map_ahead(lambda item: item, items(), workers):
        assert len(taken) - len(used) <= workers + 1
        used.append(result)
    assert used == taken == list(range(20))


def test_the_next_item_is_taken_while_one_is_worked_on():
    second = threading.Event()

    def items():
        yield "first"
        second.set()
        yield "second"

    assert list(map_ahead(lambda item: second.wait(10), items())) == [True, True]


def test_errors_of_items_and_of_work_reach_the_caller():
    def items():
        yield 2
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(map_ahead(lambda item: item, items()))
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda item: 1 / item, [1, 0, 1]))


def test_a_caller_that_stops_early_leaves_the_rest_undone():
    done = []
    results = map_ahead(done.append, range(100))
    next(results)
    results.close()
    assert len(done) <= 2
