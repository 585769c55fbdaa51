"""Train networks: the LightningModule, losses, callbacks, loggers, resuming, sweeps."""
