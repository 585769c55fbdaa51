"""Train networks: the LightningModule, losses, callbacks, loggers, resuming, sweeps."""

from cosmicgate.extras import extra

with extra("train"):
    import hydra  # noqa: F401
    import pytorch_lightning  # noqa: F401
