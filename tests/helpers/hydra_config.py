"""Compose configurations as train.py and evaluate.py do."""

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from helpers.repository import ROOT


def composed_config(*overrides: str, name: str = "train"):
    """Compose the configuration ``name`` with overrides, with the run folder set to ``run``."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, list(overrides), return_hydra_config=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = "run"
    cfg.hydra.mode = "RUN"  # also of a sweep: this configuration stays Hydra's global one
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg


def config_choices(*groups: str) -> list[str]:
    """List every choice of some config groups as a user types it, such as experiment=ablations/ema."""
    files = [(group, path) for group in groups for path in (ROOT / "conf" / group).rglob("*.yaml")]
    names = [(group, path.relative_to(ROOT / "conf" / group).with_suffix("")) for group, path in files]
    return sorted(f"{group}={name}" for group, name in names if name.parent.name != "size")
