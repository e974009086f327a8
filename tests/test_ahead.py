"""`ahead`: order, bounds, errors and endings of a generator in a thread."""

import threading
from collections.abc import Generator

import pytest

from animask.animation.ahead import ahead


class Source:
    """A generator that notes what happened to it."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.made, self.closed = 0, threading.Event()
        self.thread: threading.Thread | None = None

    def run(self) -> Generator[int, None, None]:
        self.thread = threading.current_thread()
        try:
            for number in range(self.count):
                self.made += 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed.set()


@pytest.mark.parametrize("room", [1, 3, 100])
def test_items_come_in_order_from_another_thread(room: int) -> None:
    source = Source(20)
    assert list(ahead(source.run(), room)) == list(range(20))
    assert source.closed.is_set()
    assert source.thread not in (None, threading.current_thread())
    assert not source.thread.is_alive()


def test_no_more_is_made_than_there_is_room_for() -> None:
    source = Source(100)
    items = ahead(source.run(), 3)
    assert next(items) == 0
    source.closed.wait(0.2)
    assert source.made <= 1 + 3 + 1  # taken, in the queue, in the hand of the thread
    items.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    seen = []
    with pytest.raises(ValueError, match="torn"):
        for item in ahead(Source(3, ValueError("torn")).run(), 2):
            seen.append(item)
    assert seen == [0, 1, 2]


def test_closing_ends_the_thread_and_closes_the_generator() -> None:
    source = Source(10**9)
    items = ahead(source.run(), 2)
    next(items)
    items.close()
    assert source.closed.is_set()
    assert source.thread is not None and not source.thread.is_alive()


def test_threads_nest() -> None:
    inner = Source(10**9)
    doubled = (2 * item for item in ahead(inner.run(), 2))
    items = ahead(doubled, 2)
    assert [next(items) for _ in range(5)] == [0, 2, 4, 6, 8]
    items.close()
    assert inner.closed.wait(1)
