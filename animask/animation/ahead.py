"""`ahead`: a generator that runs in a thread of its own, so that reading, networks and writing overlap."""

from collections.abc import Generator
from contextlib import closing
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")
PATIENCE = 0.05  # seconds between two looks at a thread that should end


class End(NamedTuple):
    """What comes after the last item: the error that ended the generator, or None."""

    error: BaseException | None


def ahead(items: Generator[Item, None, None], room: int) -> Generator[Item, None, None]:
    """The items of a generator, made in a thread, at most `room` of them before they are wanted.

    The generator must not be used elsewhere; it begins when the first item is wanted. What it raises is raised here.
    Closing this closes it, in its thread, after the item that it is at.
    """
    queue: Queue[Any] = Queue(room)
    stopped = Event()
    thread = Thread(target=make, args=(items, queue, stopped), daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), End):
            yield item
        if item.error:
            raise item.error
    finally:
        stopped.set()
        while thread.is_alive():
            empty(queue)  # the thread may wait for room
            thread.join(PATIENCE)


def make(items: Generator[Any, None, None], queue: Queue, stopped: Event) -> None:
    """What the thread does: items into the queue until they end or nobody wants them."""
    error: BaseException | None = None
    try:
        with closing(items):
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    break
    except BaseException as caught:  # raised where the items are wanted
        error = caught
    queue.put(End(error))


def empty(queue: Queue) -> None:
    """Take out what is there."""
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
