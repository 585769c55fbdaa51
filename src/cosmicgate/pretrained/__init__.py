"""Load networks: pretrained weights with their model cards, checkpoints, and a check for out-of-domain images."""
