"""Many files on a Ray cluster, or in processes that Ray starts here.

Each worker is an actor that loads the network once. Files are handed out one at a time, so a worker that dies takes at
most one with it, which another gets; a machine that leaves the cluster leaves the others at work.
"""

import logging
import pickle
import signal
from collections import deque
from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from cosmicgate import __version__
from cosmicgate.masking.command.batch import Batch, Pair
from cosmicgate.masking.masker import Masker
from cosmicgate.masking.products.carrying import make_anywhere
from cosmicgate.masking.products.making import Outcome

ATTEMPTS = 3  # at a file whose worker dies, and at starting a worker


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or its workers do not start; the message says why."""


class Worker:
    """What runs on a cluster: a network that is loaded, and one file after the other."""

    def __init__(self, masker: bytes, batch: Batch, version: str) -> None:
        import torch

        if version != __version__:
            raise ValueError(f"cosmicgate is {__version__} there and {version} here: install one version")
        self.masker: Masker = pickle.loads(masker)
        self.batch = batch
        torch.set_num_threads(1)  # it has one core of its machine, or a GPU
        if torch.cuda.is_available():
            self.masker.network.to("cuda")
            if self.masker.screen is not None:
                self.masker.screen.network.to("cuda")

    def ready(self) -> None:
        """Answer once the network is loaded."""

    def make(self, pair: Pair) -> Outcome:
        """Make a file; what is wrong with it is in the outcome."""
        return make_anywhere(*pair, self.masker, self.batch.wanted, self.batch.overwrite)


@dataclass
class _Crew:
    """The workers, what each is at, and the files that wait."""

    start: Any  # makes a worker
    waiting: deque[int]
    at: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)  # an answer -> its worker and file, or None
    deaths: dict[int, int] = field(default_factory=dict)  # by file
    failures: int = 0  # to start, one after the other

    def hire(self) -> None:
        """Ask for a worker; the cluster gives it when there is room."""
        worker = self.start()
        self.at[worker.ready.remote()] = (worker, None)

    def hand(self, worker: Any, pairs: Sequence[Pair]) -> None:
        """Give a worker the next file; one that gets none is let go."""
        if self.waiting:
            number = self.waiting.popleft()
            path, output = pairs[number]
            self.at[worker.make.remote((path.absolute(), output.absolute()))] = (worker, number)


def on_ray(
    pairs: Sequence[Pair], masker: Masker, batch: Batch, address: str, jobs: int | None
) -> Generator[Outcome, None, None]:
    """Make the files on a cluster; outcomes come as they are ready.

    Parameters
    ----------
    pairs, masker, batch
        As in :func:`~cosmicgate.masking.command.batch.in_processes`. Every machine has to see the files under the same
        paths, and to have the rights that URLs need.
    address : str
        Of the cluster, as ``ray.init`` takes it; "local" starts one on this machine.
    jobs : int, optional
        Workers; None: one for each GPU of the cluster, or for each core where it has none.

    Raises
    ------
    ClusterError
        There is no such cluster, or workers do not start there.
    """
    ray = _connected(address, jobs)
    try:
        unit = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
        number = jobs or int(ray.cluster_resources().get(unit, 1))
        content = ray.put(pickle.dumps(_on_cpu(masker)))
        each = {"num_gpus": 1} if unit == "GPU" else {"num_cpus": 1}
        remote = ray.remote(**each)(Worker)
        crew = _Crew(lambda: remote.remote(content, batch, __version__), deque(range(len(pairs))))
        for _ in range(min(number, len(pairs))):
            crew.hire()
        yield from _outcomes(ray, crew, pairs)
    finally:
        ray.shutdown()


def _outcomes(ray: Any, crew: _Crew, pairs: Sequence[Pair]) -> Generator[Outcome, None, None]:
    left = len(pairs)
    while left:
        done, _ = ray.wait(list(crew.at), num_returns=1)
        worker, number = crew.at.pop(done[0])
        try:
            outcome = ray.get(done[0])
        except ray.exceptions.RayError as error:
            outcome = _after_death(crew, number, pairs, error)
        else:
            crew.failures = 0
            crew.hand(worker, pairs)
        if outcome is not None and number is not None:
            left -= 1
            path, output = pairs[number]
            yield replace(outcome, file=str(path), output=str(output))


def _after_death(crew: _Crew, number: int | None, pairs: Sequence[Pair], error: Exception) -> Outcome | None:
    """Hire another worker; the file waits behind the others, or has failed if it was the death of several."""
    crew.hire()
    if number is None:
        crew.failures += 1
        if crew.failures >= ATTEMPTS:
            said = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise ClusterError(f"the workers do not start: {said}") from error
        return None
    crew.deaths[number] = crew.deaths.get(number, 0) + 1
    if crew.deaths[number] < ATTEMPTS:
        crew.waiting.append(number)
        return None
    path, output = pairs[number]
    said = f"{path}: {ATTEMPTS} workers died at it, perhaps for want of memory; use fewer --jobs"
    return Outcome(str(path), str(output), "failed", error=said)


def _connected(address: str, jobs: int | None) -> Any:
    """Return Ray, connected."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ClusterError("--ray needs a package that is missing: pip install -r requirements-ray.txt") from error
    here: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"--ray {address}: {str(error).splitlines()[0]}") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray has put its own there
    return ray


def _on_cpu(masker: Masker) -> Masker:
    """Return a copy that a machine without a GPU can open."""
    screen = masker.screen
    if screen is not None:
        screen = replace(screen, network=deepcopy(screen.network).to("cpu"))
    return replace(masker, network=deepcopy(masker.network).to("cpu"), screen=screen)
