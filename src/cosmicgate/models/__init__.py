"""The networks: plain ``nn.Module`` classes that map an image to logits."""

from cosmicgate.models.unet import UNet

__all__ = ["UNet"]
