"""Record what is needed to reproduce a run, and the metadata that distinguish runs."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cosmicgate.io.atomic import tree_hash

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy", "astropy", "astroscrappy", "GalSim")


def provenance(seed: int, inputs: Sequence[Path], config: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what is needed to reproduce a run: command, seed, commit, versions, hashes of inputs, configuration.

    Parameters
    ----------
    seed : int
        Seed of the run.
    inputs : sequence of Path
        Files and folders that the run read; their contents are hashed.
    config : mapping
        Resolved configuration.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": _git("diff", "HEAD"),
        "untracked": _git("ls-files", "--others", "--exclude-standard", "--full-name", ":/"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "inputs": {path.name: tree_hash(path) for path in inputs},
        "config": config,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Ask git about the repository of this package; None if it has none, or is installed in that of another project."""
    try:
        for command in (("ls-files", "--error-unmatch", Path(__file__).name), arguments):
            here = Path(__file__).parent
            done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def run_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the metadata that distinguish trainings: model, norm, gate, data, contamination and seed, where set."""
    model, data = config.get("model") or {}, config.get("data") or {}
    recipe = (data.get("contamination") or {}).get("_target_", "").rpartition(".")[2].lower().removesuffix("recipe")
    facts = {"model": config.get("name"), "norm": model.get("norm"), "gate": model.get("gate")}
    facts |= {"data": data.get("name"), "contamination": recipe or None, "seed": config.get("seed")}
    return {key: value for key, value in facts.items() if value is not None}


def run_tags(facts: Mapping[str, Any]) -> list[str]:
    """Format metadata as tags: ``norm=batch``, ``gate=true``."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in facts.items()]
