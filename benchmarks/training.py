"""Compare the time of a training step with and without the data loader.

    python benchmarks/training.py

The training step of ``train.py`` (loader, transforms, Lightning without callbacks) is timed against the bare step: the
same network, loss and optimizer on one batch in memory. Both run in turn in one process, then the loader alone.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from cosmicgate.extras import extra

with extra("train", __name__):
    import pytorch_lightning as pl
    from hydra import compose, initialize_config_dir
    from pytorch_lightning.callbacks import Callback

    from cosmicgate.config import build
    from cosmicgate.training.loggers import silence_lightning

CONF = Path(__file__).resolve().parents[1] / "conf"


class Clock(Callback):
    """Record the time at which each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Record the time."""
        self.ends.append(time.perf_counter())


def bare_steps(module: pl.LightningModule, batch: dict[str, torch.Tensor], steps: int) -> list[float]:
    """Measure the seconds of each of ``steps`` steps on one batch, leaving out the first, slower one."""
    optimizer = module.configure_optimizers()["optimizer"]
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        module._loss(module(batch["image"]), batch).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def trained_steps(module: pl.LightningModule, data: pl.LightningDataModule, steps: int) -> list[float]:
    """Measure the seconds between the ends of ``steps`` steps of Lightning's loop."""
    clock = Clock()
    trainer = pl.Trainer(
        max_steps=steps + 1,
        max_epochs=-1,
        logger=False,
        callbacks=[clock],
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_dataloaders=data.train_dataloader())
    return [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]


def main() -> None:
    """Time bare steps, steps of Lightning's loop and the loader, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py: model=deepcr data/size=small ...")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each kind in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loader", type=float, default=5.0, help="seconds for which the loader alone is timed")
    options = parser.parse_args()
    silence_lightning()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["experiment=demo", *options.overrides])
    pl.seed_everything(0, verbose=False)
    data = build(cfg.data)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    bare, trained = [], []
    for _ in range(options.rounds):
        bare.append(statistics.median(bare_steps(build(cfg.module), batch, options.steps)))
        trained.append(statistics.median(trained_steps(build(cfg.module), data, options.steps)))
    start, patches = time.perf_counter(), 0
    while time.perf_counter() - start < options.loader:
        patches += sum(len(b["image"]) for b in data.train_dataloader())
    loader = patches / (time.perf_counter() - start)
    ratios = [t / b for t, b in zip(trained, bare, strict=True)]
    size, number = batch["image"].shape[-1], len(batch["image"])
    print(f"{number} patches of {size} px a step, {torch.get_num_threads()} threads, {options.rounds} rounds\n")
    print("| what | median | range |\n|---|---:|---:|")
    for name, values, form in (
        ("bare step, s", bare, ".3f"),
        ("step of train.py, s", trained, ".3f"),
        ("step of train.py / bare step", ratios, ".3f"),
    ):
        print(f"| {name} | {statistics.median(values):{form}} | {min(values):{form}}-{max(values):{form}} |")
    print(f"| patches/s, network | {number / statistics.median(bare):.1f} | |")
    print(f"| patches/s, loader alone | {loader:.1f} | |")


if __name__ == "__main__":
    main()
