"""Many files, one after the other or in several processes."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from cosmicgate.masking.masker import Masker
from cosmicgate.masking.products.carrying import make_anywhere
from cosmicgate.masking.products.labels import Wanted
from cosmicgate.masking.products.making import Outcome, Tell
from cosmicgate.masking.products.urls import Address

Pair = tuple[Address, Address]  # input and output


@dataclass(frozen=True)
class Batch:
    """What is to be done with each file.

    Attributes
    ----------
    wanted : Wanted
        What is made of a file.
    overwrite : bool
        As in :func:`~cosmicgate.masking.products.carrying.make_anywhere`.
    """

    wanted: Wanted
    overwrite: bool = False


@dataclass
class _Worker:
    """What a process of the pool knows."""

    masker: Masker | None = None
    batch: Batch | None = None
    stopped: bool = False


_WORKER = _Worker()


def one_by_one(pairs: Sequence[Pair], masker: Masker, batch: Batch, tell: Tell) -> Generator[Outcome, None, None]:
    """Make the files in this process."""
    for path, output in pairs:
        yield make_anywhere(path, output, masker, batch.wanted, batch.overwrite, tell)


def in_processes(pairs: Sequence[Pair], masker: Masker, batch: Batch, jobs: int) -> Generator[Outcome, None, None]:
    """Make the files in ``jobs`` processes that share the processor's cores; outcomes come as they are ready.

    If one is killed, for want of memory say, the files that are left are made one at a time: that at which a process
    is killed alone fails, and no other. When the caller stops, the processes do as well, and remove what they had begun
    to write.
    """
    left = list(pairs)
    with _pool(masker, batch, jobs) as pool:
        futures: dict[Future[Outcome], Pair] = {pool.submit(_one, pair): pair for pair in pairs}
        for future in as_completed(futures):
            with suppress(BrokenProcessPool):
                outcome = future.result()
                left.remove(futures[future])
                yield outcome
    while left:
        with _pool(masker, batch, 1) as pool:
            while left:
                path, output = left.pop(0)
                try:
                    yield pool.submit(_one, (path, output)).result()
                except BrokenProcessPool:
                    said = f"{path}: its process was killed before it was done, perhaps for want of memory"
                    yield Outcome(str(path), str(output), "failed", error=said)
                    break


@contextmanager
def _pool(masker: Masker, batch: Batch, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes; they end with the block."""
    threads = max(_cores() // jobs, 1)
    spawn = multiprocessing.get_context("spawn")  # torch cannot be forked
    pool = ProcessPoolExecutor(jobs, spawn, initializer=_start, initargs=(pickle.dumps(masker), batch, threads))
    try:
        yield pool
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        for child in children:
            child.join(5)
            child.kill()


def _cores() -> int:
    """Return the cores that this process may use, which a batch system or ``taskset`` may have made fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(masker: bytes, batch: Batch, threads: int) -> None:
    """Prepare a process of the pool: its network, its share of the cores, its end with that of its parent."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _WORKER.masker, _WORKER.batch = pickle.loads(masker), batch


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
    _WORKER.stopped = True
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(pair: Pair) -> Outcome:
    if _WORKER.stopped or _WORKER.masker is None or _WORKER.batch is None:
        raise KeyboardInterrupt
    return make_anywhere(*pair, _WORKER.masker, _WORKER.batch.wanted, _WORKER.batch.overwrite)
