"""Convert MaxiMask's published weights to a state dict for ``detector=maximask``, without TensorFlow.

    pip install --no-deps -r requirements-maximask.txt && python scripts/convert_maximask.py

The package has them in TensorFlow's format: one file of numbers, layer by layer in the order of the network.
"""

import argparse
import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from cosmicgate.extras import extra

with extra("train", __name__):
    from cosmicgate.detectors.maximask import MaxiMaskNet
    from cosmicgate.io.atomic import atomic_path

NUMBERS = Path("maximask/model/variables/variables.data-00000-of-00001")
SHA256 = "13e5fed2cdb7abd4535a4e872b4906f380558073d9294c1d5fa2041f620073e5"  # of MaxiMask 1.4.1
CLASSES, COSMIC_RAY = 14, 0  # outputs of the last layer, and the index of the one for cosmic rays


def package() -> Path:
    """Locate the folder of the installed package without importing it."""
    spec = find_spec("maximask_and_maxitrack")
    if spec is None or spec.origin is None:
        sys.exit("error: MaxiMask is not installed: pip install --no-deps -r requirements-maximask.txt")
    return Path(spec.origin).parent


def convert(file: Path) -> dict[str, torch.Tensor]:
    """Read the weights in ``file`` as a state dict of :class:`MaxiMaskNet`."""
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        sys.exit(f"error: {file} is not that of MaxiMask 1.4.1: SHA-256 {found}, expected {SHA256}")
    state, start = {}, 0
    for name, ours in MaxiMaskNet().state_dict().items():  # kernel, bias, kernel, bias, ...
        shape = (CLASSES, *ours.shape[1:]) if name.startswith("head.") else ours.shape
        numbers = np.frombuffer(content, "<f4", count=int(np.prod(shape)), offset=start)
        start += numbers.nbytes
        if len(shape) == 4:  # TensorFlow's order is rows, columns, inputs, outputs
            outputs, inputs, rows, columns = shape
            numbers = numbers.reshape(rows, columns, inputs, outputs).transpose(3, 2, 0, 1)
        wanted = numbers[COSMIC_RAY : COSMIC_RAY + 1] if name.startswith("head.") else numbers
        state[name] = torch.from_numpy(np.array(wanted, np.float32, order="C"))
    return state


def main() -> None:
    """Read TensorFlow's weights, check their hash, and write a state dict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="folder maximask_and_maxitrack of another environment")
    parser.add_argument("--out", type=Path, default=Path("data/weights/maximask.pt"))
    options = parser.parse_args()
    file = (options.package or package()) / NUMBERS
    if not file.is_file():
        sys.exit(f"error: no such file: {file}")
    with atomic_path(options.out) as partial:
        torch.save(convert(file), partial)
    print(options.out)


if __name__ == "__main__":
    main()
