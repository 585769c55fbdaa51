"""Test that an exported ONNX file gives the same probabilities in onnxruntime."""

import numpy as np
import pytest
import torch

from cosmicgate.inference.predictor import Predictor
from cosmicgate.masking.export import export
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import ModelCard
from helpers.mask_command import run

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "scaling"), [("batch", "robust"), ("group", "none")])
def test_onnxruntime_gives_the_same_probabilities(norm, scaling, tmp_path):
    torch.manual_seed(0)
    network = UNet(channels=8, norm=norm, gate=True, scaling=scaling, momentum=0.5).train()
    network(torch.randn(4, 1, 64, 64))
    form = dict(channels=8, norm=norm, gate=True, scaling=scaling)
    card = ModelCard("mine", "Mine", "0", form, "", "nothing", "", "", 0, "", True, calibration=[[1e-4, 0.7]])
    masker = CosmicRayMasker(Predictor(network.eval()), card, check=False)
    path = tmp_path / "mine.onnx"
    export(masker, path)
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 1, 64, 64), (3, 1, 40, 100)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = network.logits(image).sigmoid().numpy()
        assert np.abs(session.run(None, {"image": image.numpy()})[0] - expected).max() < 1e-5
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert metadata["name"] == "mine"
    assert metadata["sides"] == "multiples of 4"
    assert metadata["calibration"] == "[[0.0001, 0.7]]"
    assert ("median" in metadata["scaling"]) == (scaling == "robust")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.onnx"], "no weights or partial file beside it"


@pytest.mark.slow
def test_the_command_writes_a_file_and_refuses_an_unknown_network(model, tmp_path):
    done = run("export", "--onnx", tmp_path / "tiny.onnx", "-m", model)
    assert done.exit_code == 0, done.output
    assert onnxruntime.InferenceSession(tmp_path / "tiny.onnx").get_inputs()[0].name == "image"
    unknown = run("export", "--onnx", tmp_path / "other.onnx", "-m", "nowhere")
    assert unknown.exit_code == 2
    assert "no network 'nowhere'" in unknown.output
    assert not (tmp_path / "other.onnx").exists()
