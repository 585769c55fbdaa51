"""Mask many files on a Ray cluster, or in processes that Ray starts on this machine.

Each worker is an actor that loads the network once. Files are handed out one at a time, so a worker that dies loses at
most one file, which another worker gets; the other machines continue when one leaves the cluster.
"""

import logging
import pickle
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cosmicgate import __version__
from cosmicgate.masking.compare_frames import Pair
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.options import BatchOptions
from cosmicgate.masking.pipeline import FileResult, mask_file

ATTEMPTS = 3  # attempts at a file whose worker dies, and at starting a worker


class ClusterError(RuntimeError):
    """Error raised if the cluster cannot be reached or its workers do not start; the message says why."""


class Worker:
    """Ray actor that holds a loaded network and masks one file after the other."""

    def __init__(self, masker: bytes, batch: BatchOptions, version: str) -> None:
        import torch

        if version != __version__:
            raise ValueError(f"cosmicgate is {__version__} there and {version} here: install one version")
        self.masker: CosmicRayMasker = pickle.loads(masker)
        self.batch = batch
        torch.set_num_threads(1)  # Ray gives each worker one core, or one GPU
        if torch.cuda.is_available():
            self.masker = replace(self.masker, predictor=self.masker.predictor.to("cuda"))

    def ready(self) -> None:
        """Wait until the network is loaded."""

    def mask(self, pair: Pair) -> FileResult:
        """Mask one file; errors are reported in the result."""
        return mask_file(
            *pair, self.masker, self.batch.options, self.batch.overwrite, static_pixels=self.batch.static_pixels
        )


@dataclass
class _WorkerPool:
    """Workers with their current files, and the files that wait."""

    start: Any  # function that starts a worker
    waiting: deque[int]  # indices of files
    at: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)  # future -> worker, file (None: it is starting)
    deaths: dict[int, int] = field(default_factory=dict)  # file -> number of workers that died while masking it
    failures: int = 0  # consecutive failures to start a worker

    def start_worker(self) -> None:
        """Request a worker; the cluster starts it when resources are free."""
        worker = self.start()
        self.at[worker.ready.remote()] = (worker, None)

    def give_next_file(self, worker: Any, pairs: Sequence[Pair]) -> None:
        """Give a worker the next file; a worker that gets none is released."""
        if self.waiting:
            number = self.waiting.popleft()
            source, target = pairs[number]
            self.at[worker.mask.remote((source.absolute(), target.absolute()))] = (worker, number)


def mask_on_ray(
    pairs: Sequence[Pair], masker: CosmicRayMasker, batch: BatchOptions, address: str, jobs: int | None
) -> Generator[FileResult, None, None]:
    """Mask the files on a Ray cluster and yield results in order of completion.

    Parameters
    ----------
    pairs, masker, batch
        As in :func:`~cosmicgate.masking.batch.mask_in_processes`. Every machine must see the files under the same
        paths, and have the credentials that URLs need.
    address : str
        Address of the cluster, as for ``ray.init``; "local" starts one on this machine.
    jobs : int, optional
        Number of workers. None: one for each GPU of the cluster, or for each core if it has no GPU.

    Raises
    ------
    ClusterError
        There is no such cluster, or its workers do not start.
    """
    ray = _connected(address, jobs)
    try:
        unit = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
        number = jobs or int(ray.cluster_resources().get(unit, 1))
        # Copied to the CPU, so that a machine without a GPU can unpickle it.
        content = ray.put(pickle.dumps(replace(masker, predictor=masker.predictor.to("cpu"))))
        each = {"num_gpus": 1} if unit == "GPU" else {"num_cpus": 1}
        remote = ray.remote(**each)(Worker)
        pool = _WorkerPool(lambda: remote.remote(content, batch, __version__), deque(range(len(pairs))))
        for _ in range(min(number, len(pairs))):
            pool.start_worker()
        yield from _results(ray, pool, pairs)
    finally:
        ray.shutdown()


def _results(ray: Any, pool: _WorkerPool, pairs: Sequence[Pair]) -> Generator[FileResult, None, None]:
    left = len(pairs)
    while left:
        done, _ = ray.wait(list(pool.at), num_returns=1)
        worker, number = pool.at.pop(done[0])
        try:
            result = ray.get(done[0])
        except ray.exceptions.RayError as error:
            result = _after_death(pool, number, pairs, error)
        else:
            pool.failures = 0
            pool.give_next_file(worker, pairs)
        if result is not None and number is not None:
            left -= 1
            source, target = pairs[number]
            yield replace(result, file=str(source), output=str(target))


def _after_death(pool: _WorkerPool, number: int | None, pairs: Sequence[Pair], error: Exception) -> FileResult | None:
    """Replace a dead worker and requeue its file, or return a failure if several workers died at that file."""
    pool.start_worker()
    if number is None:
        pool.failures += 1
        if pool.failures >= ATTEMPTS:
            message = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise ClusterError(f"the workers do not start: {message}") from error
        return None
    pool.deaths[number] = pool.deaths.get(number, 0) + 1
    if pool.deaths[number] < ATTEMPTS:
        pool.waiting.append(number)
        return None
    source, target = pairs[number]
    message = (
        f"{source}: {ATTEMPTS} workers died while they masked it, perhaps because memory ran out; use fewer --jobs"
    )
    return FileResult(str(source), str(target), "failed", error=message)


def _connected(address: str, jobs: int | None) -> Any:
    """Import Ray and connect it to the cluster."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ClusterError(
            "--ray needs a package that is missing: pip install '.[ray]' in a clone of cosmicgate"
        ) from error
    here: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"--ray {address}: {str(error).splitlines()[0]}") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray installs its own handler
    return ray
