"""Count the parameters of networks (the paper's Table 3), and time detectors on one frame (its Table 4)."""

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from cosmicgate.config import build, title
from cosmicgate.data.cache import digest, load_labelled
from cosmicgate.detectors import Detector, detect_for_truth, for_telescope
from cosmicgate.detectors.classical import LACosmicFamily
from cosmicgate.evaluation.frame_results import frame_of, mask_at
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.io.atomic import tree_hash, write_json
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.messages import first_line, with_progress

log = logging.getLogger(__name__)

WARM_UP = 256  # side in px of the image on which each detector warms up before it is timed
MAX_RUNS, QUICK_S = 3, 2.0  # a detector is timed up to MAX_RUNS times, until its runs take QUICK_S seconds together


def costs_of(
    networks: Mapping[str, Any], detectors: Sequence[Detector], shape: Sequence[int] | None, folder: Path, cache: Path
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Count parameters and time detectors, for the lists ``parameters`` and ``seconds`` of ``results.json``.

    Parameters are those of :func:`count_parameters` and :func:`time_detectors`; without a shape nothing is timed.
    The second value lists the detectors that failed while being timed.
    """
    seconds, failed = time_detectors(detectors, folder, shape, cache) if shape else ([], [])
    return {"parameters": count_parameters(networks), "seconds": seconds}, failed


def count_parameters(networks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Build networks and count their parameters.

    Parameters
    ----------
    networks : mapping of str to node
        Name -> node of ``conf/model``.
    """
    counted = []
    for name, node in networks.items():
        network: nn.Module = build(node)
        counted.append({"network": title(name), "parameters": sum(p.numel() for p in network.parameters())})
    return counted


def time_detectors(
    detectors: Sequence[Detector], folder: Path, shape: Sequence[int], cache: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time each detector on one frame, in turn, each after a warm-up on a small part of the frame.

    Parameters
    ----------
    detectors : sequence of Detector
        Detectors to time. One that is swept over settings is timed at its threshold alone.
    folder : Path
        Folder of a labelled frame; mirrored copies of it fill a larger shape.
    shape : (int, int)
        Rows and columns of the frame that is timed.
    cache : Path
        Folder of cached measurements: the same call on the same machine does not measure again.

    Returns
    -------
    seconds : list of dict
        Keys detector (its record), seconds and cpu_seconds (of the fastest run), runs, shape, machine.
    failed : list of dict
        Keys test_set ("timing"), detector and reason, for detectors that raised an error.
    """
    frame = frame_of_shape(folder, shape)
    content, about = tree_hash(folder), {"shape": list(shape), "machine": processor_name()}
    measured, failed = [], []
    for detector in with_progress(detectors, f"{shape[0]} x {shape[1]} px", "timed", "detector"):
        record = DetectorRecord.of(detector)
        path = cache / f"{digest([detector.cache_key, detector.threshold, content, about])}.json"
        try:
            if not path.is_file():
                write_json(path, _timed(detector, frame) | about)
        except Exception as error:  # a third-party package may raise anything; the others must still be timed
            reason = first_line(error)
            log.error("timing %s failed: %s", record.name, reason)
            log.debug("traceback", exc_info=error)
            failed.append({"test_set": "timing", "detector": record, "reason": reason})
            continue
        measured.append({"detector": record} | json.loads(path.read_text(encoding="utf-8")))
    return measured, failed


def frame_of_shape(folder: Path, shape: Sequence[int]) -> Frame:
    """Load a labelled frame and crop it, or extend it by mirrored copies, to ``shape`` (rows, columns)."""
    frame = frame_of(load_labelled(folder))
    more = [(0, max(0, wanted - side)) for wanted, side in zip(shape, frame.shape, strict=True)]
    image, bad = np.pad(frame.image, more, mode="symmetric"), np.pad(frame.bad, more, mode="symmetric")
    return replace(frame, image=image, bad=bad).cut(slice(0, shape[0]), slice(0, shape[1]), frame.name)


def _timed(detector: Detector, frame: Frame) -> dict[str, Any]:
    """Measure wall-clock and CPU seconds from image to mask, of the fastest run, and count the runs."""
    threshold = for_telescope(detector.threshold, frame.telescope, f"{detector.model}: threshold")
    if isinstance(detector, LACosmicFamily):
        detector = replace(detector, sweep=(), threshold=threshold)

    def run(on: Frame) -> tuple[float, float]:
        start, cpu = perf_counter(), process_time()
        mask_at(detect_for_truth(detector, on, dilated=True), threshold)
        return perf_counter() - start, process_time() - cpu

    run(frame.cut(slice(0, WARM_UP), slice(0, WARM_UP), frame.name))
    runs = [run(frame)]
    while len(runs) < MAX_RUNS and sum(seconds for seconds, _ in runs) < QUICK_S:
        runs.append(run(frame))
    seconds, cpu_seconds = min(runs)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "runs": len(runs)}


def processor_name() -> str:
    """Name the processor and the number of torch's threads."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next(iter(names), "") or platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} thread(s)"
