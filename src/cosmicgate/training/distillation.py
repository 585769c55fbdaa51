"""Train a small network on what a large one predicts: knowledge distillation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmicgate.data.pixel_labels import IGNORED, SKY
from cosmicgate.pretrained.checkpoint import has_ring
from cosmicgate.pretrained.load import load_network
from cosmicgate.training.module import Segmentation

TEACHER = "teacher_sha256"  # key of a checkpoint


class Distillation(Segmentation):
    """Train a network on the hit probabilities that a trained network, the teacher, predicts, and on the truth.

    Validation is against the truth alone, so that its losses can be compared with those of other trainings.

    Parameters
    ----------
    teacher : str or Path
        Pretrained network, run folder, checkpoint or file of weights. It is not trained. Its truth must have had a ring
        around each hit if that of the data has one, and none otherwise (:meth:`check_truth`).
    teacher_weight : float
        Weight of the teacher in the target of each pixel, 0 to 1; the truth has the rest.
    **segmentation
        Arguments of :class:`~cosmicgate.training.module.Segmentation`; the loss is of single pixels.

    References
    ----------
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
    """

    def __init__(self, teacher: str | Path, teacher_weight: float = 0.5, **segmentation: Any) -> None:
        super().__init__(**segmentation)
        if not 0 <= teacher_weight <= 1:
            raise ValueError(f"teacher_weight={teacher_weight}: expected 0 to 1")
        if self.block_size > 1:
            raise ValueError(f"block_size={self.block_size}: expected 1 px, as the teacher predicts single pixels")
        network, card, _ = load_network(teacher)
        self._teacher = (network,)  # in a tuple, where Lightning does not look for weights to train, average and save
        self.teacher_sha256, self.teacher_ring = card.sha256, card.ring
        self.teacher_weight = teacher_weight

    def check_truth(self, data: Mapping[str, Any]) -> None:
        """Raise ValueError if only one of the teacher and the data, a configuration, has a ring around each hit."""
        if has_ring(data) != self.teacher_ring:
            had, has = ("a ring" if ring else "no ring" for ring in (self.teacher_ring, not self.teacher_ring))
            raise ValueError(
                f"module.teacher: its truth had {had} around each hit, and that of the data ({data.get('name')}) has "
                f"{has}: give another teacher or other data"
            )

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Compute and log the loss of a batch."""
        (teacher,) = self._teacher
        truth = batch["truth"]
        with torch.no_grad():
            predicted = teacher.to(truth.device)(batch["image"], truth == IGNORED).float().sigmoid()
        target = torch.lerp((truth != SKY).float(), predicted, self.teacher_weight)
        return super().training_step(batch | {"target": target})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save which teacher the training has."""
        checkpoint[TEACHER] = self.teacher_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume with another teacher."""
        if checkpoint.get(TEACHER) != self.teacher_sha256:
            raise ValueError(
                "module.teacher: its weights are not those that this training began with: give the same network, or "
                "another hydra.run.dir"
            )
