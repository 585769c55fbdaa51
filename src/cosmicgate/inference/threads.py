"""Run work in threads that do not wait for one another.

torch splits each operation into one part per thread and waits for the slowest. On a machine with other load, one core
is always busy elsewhere: every layer waits for the thread that lost its core, while the others spin. Here each thread
processes whole work items with its own share of torch's threads, and takes the next item when it is free.
"""

from collections.abc import Callable, Iterable
from threading import Barrier, Event, Lock, Thread
from typing import TypeVar

import torch

Item = TypeVar("Item")


def run_in_threads(work: Callable[[Event], None], threads: int) -> None:
    """Run ``work`` in several threads at once, dividing torch's threads among them, and wait for all of them.

    Parameters
    ----------
    work : callable
        Function called once in each thread. Its argument is an event that is set when another thread has failed or the
        user has interrupted; it should then return as soon as possible.
    threads : int
        Number of threads; 1 calls ``work`` in the current thread and leaves torch's thread count unchanged.

    Raises
    ------
    Exception
        The first error raised in a thread.
    """
    stop = Event()
    if threads <= 1:
        work(stop)
        return
    usual = torch.get_num_threads()
    ready, errors = Barrier(threads + 1), list[BaseException]()

    def one() -> None:
        # Sets the count of this thread and the default of every thread that has not asked torch for its count yet.
        torch.set_num_threads(max(usual // threads, 1))
        torch.get_num_threads()  # fixes this thread's count, or the later set_num_threads(usual) would change it
        ready.wait()
        try:
            with torch.inference_mode():
                work(stop)
        except BaseException as error:  # re-raised in the calling thread
            errors.append(error)
            stop.set()

    workers = [Thread(target=one, name=f"cosmicgate-{number}", daemon=True) for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        ready.wait()
        torch.set_num_threads(usual)
        for worker in workers:
            worker.join()
    finally:
        stop.set()
        ready.abort()  # if a thread could not be started, the others still wait at the barrier
        for worker in workers:
            worker.join()
    if errors:
        raise errors[0]


def for_each(function: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Call ``function`` on each item, in threads that take the next item when they are free.

    With one thread, torch uses all of its own threads within each call, as in :func:`run_in_threads`.
    """
    left, lock, end = iter(items), Lock(), object()

    def work(stop: Event) -> None:
        while not stop.is_set():
            with lock:
                item = next(left, end)
            if item is end:
                return
            function(item)  # type: ignore[arg-type]

    run_in_threads(work, threads)
