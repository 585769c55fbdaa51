"""The networks: plain ``nn.Module``, an image in, logits out."""

from cosmicgate.models.unet import UNet

__all__ = ["UNet"]
