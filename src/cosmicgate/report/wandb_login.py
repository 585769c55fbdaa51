"""Check the login to W&B, and give W&B writable folders."""

import logging
import os
import tempfile
from pathlib import Path

from cosmicgate.extras import extra

with extra("wandb"):
    import wandb
    from wandb.env import get_cache_dir, get_data_dir

log = logging.getLogger(__name__)


def logged_in() -> bool:
    """Check whether the user is logged in to W&B; an invalid key is reported and counts as no login."""
    # Lightning leaves WANDB_MODE=dryrun set in the process of a sweep.
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return False
    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, ValueError) as error:
        log.warning("no login at W&B (%s): this run is logged offline; run `wandb login` to enter another key", error)
        return False


def set_writable_folders(folder: Path) -> None:
    """Point W&B to folders below ``folder`` in place of those in an unwritable home, as in a container."""
    config = ("WANDB_CONFIG_DIR", "~/.config/wandb")
    for variable, path in (("WANDB_DATA_DIR", get_data_dir()), ("WANDB_CACHE_DIR", get_cache_dir()), config):
        if variable not in os.environ and not _writable(str(path)):
            instead = folder.absolute() / "wandb" / "home"
            instead.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(instead)


def _writable(folder: str) -> bool:
    try:
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except (OSError, RuntimeError):  # RuntimeError if the home folder cannot be determined
        return False
