"""Mask many files, one after the other or in several processes."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

from cosmicgate.masking.compare_frames import Pair, find_static_pixels, kept_measurement, local_pairs, measure_file
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.options import BatchOptions
from cosmicgate.masking.pipeline import FileResult, ProgressCallback, mask_file
from cosmicgate.masking.static_pixels import MIN_FRAMES, StaticPixels
from cosmicgate.masking.temporary_folder import temporary_folder

AnyPair = TypeVar("AnyPair", Pair, tuple[Path, Path])
T = TypeVar("T")


@dataclass
class _Worker:
    """State of a process of the pool."""

    masker: CosmicRayMasker | None = None
    batch: BatchOptions | None = None
    stopped: bool = False


_WORKER = _Worker()


def with_static_pixels(
    pairs: Sequence[Pair], masker: CosmicRayMasker, batch: BatchOptions, jobs: int, progress: Callable[[], object]
) -> BatchOptions:
    """Measure the frames of a batch, find the static pixels of their detectors, and add these to the options.

    Measurements are kept beside the outputs, so that a stopped run resumes and a repeated one measures nothing; those
    that cannot be written there are used all the same. Inputs and outputs that are URLs are left out.

    Parameters
    ----------
    pairs, masker, batch
        Inputs and outputs, detector and options.
    jobs : int
        Number of processes.
    progress : callable
        Called after each frame.
    """
    local = local_pairs(pairs)
    if len(local) < MIN_FRAMES:
        return replace(batch, static_pixels=StaticPixels())
    kept = {source: found for source, target in local if (found := kept_measurement(source, target, batch.options))}
    for _ in kept:
        progress()
    missing = [pair for pair in local if pair[0] not in kept]
    with temporary_folder() if missing else nullcontext(Path()) as spare:
        in_turn = ((pair, measure_file(*pair, batch.options, spare)) for pair in missing)
        in_pool = jobs > 1 and missing
        done = _in_pool(missing, partial(_measure, spare), masker, batch, jobs) if in_pool else in_turn
        with closing(done):
            for (source, _), measured in done:
                if isinstance(measured, Path):
                    kept[source] = measured
                progress()
        return replace(batch, static_pixels=find_static_pixels(kept))


def mask_in_this_process(
    pairs: Sequence[Pair], masker: CosmicRayMasker, batch: BatchOptions, progress: ProgressCallback
) -> Generator[FileResult, None, None]:
    """Mask the files in this process and yield their results."""
    for source, target in pairs:
        yield mask_file(source, target, masker, batch.options, batch.overwrite, progress, batch.static_pixels)


def mask_in_processes(
    pairs: Sequence[Pair], masker: CosmicRayMasker, batch: BatchOptions, jobs: int
) -> Generator[FileResult, None, None]:
    """Mask the files in ``jobs`` processes that share the CPU cores, and yield results in order of completion.

    If a process is killed, for example when memory runs out, the remaining files are masked one at a time, so that only
    the file whose process is killed then fails. When the caller stops, the processes stop too and remove their
    unfinished outputs.
    """
    for (source, target), result in _in_pool(pairs, _one, masker, batch, jobs):
        if result is not None:
            yield result
            continue
        error = f"{source}: its process was killed before it was done, perhaps because memory ran out"
        yield FileResult(str(source), str(target), "failed", error=error)


def _in_pool(
    pairs: Sequence[AnyPair], task: Callable[[AnyPair], T], masker: CosmicRayMasker, batch: BatchOptions, jobs: int
) -> Generator[tuple[AnyPair, T | None], None, None]:
    """Yield pairs and the results of a task in order of completion; None if the process of a pair was killed."""
    left = list(pairs)
    with _pool(masker, batch, jobs) as pool:
        with _interrupt_ignored():
            futures: dict[Future[T], AnyPair] = {pool.submit(task, pair): pair for pair in pairs}
        for future in as_completed(futures):
            with suppress(BrokenProcessPool):
                result = future.result()
                left.remove(futures[future])
                yield futures[future], result
    while left:
        with _pool(masker, batch, 1) as pool:
            while left:
                pair = left.pop(0)
                try:
                    with _interrupt_ignored():
                        future = pool.submit(task, pair)
                    yield pair, future.result()
                except BrokenProcessPool:
                    yield pair, None
                    break


@contextmanager
def _pool(masker: CosmicRayMasker, batch: BatchOptions, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of processes that ends with the ``with`` block."""
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


@contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to them too: this process handles it and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set this
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cores() -> int:
    """Count the cores that this process may use, which a batch system or ``taskset`` may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(masker: bytes, batch: BatchOptions, threads: int) -> None:
    """Prepare a process of the pool: load the network, set its threads, and make it end when its parent does."""
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _WORKER.masker, _WORKER.batch = pickle.loads(masker), batch
    signal.signal(signal.SIGTERM, _stop)  # until here there is nothing to clean up: SIGTERM just ends the process


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
    _WORKER.stopped = True
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(pair: Pair) -> FileResult:
    if _WORKER.stopped or _WORKER.masker is None or _WORKER.batch is None:
        raise KeyboardInterrupt
    batch = _WORKER.batch
    return mask_file(*pair, _WORKER.masker, batch.options, batch.overwrite, static_pixels=batch.static_pixels)


def _measure(spare: Path, pair: tuple[Path, Path]) -> Path | None:
    if _WORKER.stopped or _WORKER.batch is None:
        raise KeyboardInterrupt
    return measure_file(*pair, _WORKER.batch.options, spare)
