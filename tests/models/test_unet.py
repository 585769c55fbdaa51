"""Test that the four networks have the paper's sizes and give the authors' probabilities with their weights."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from cosmicgate.models import UNet
from cosmicgate.models.weight_conversion import translate

RELEASED = {
    "deepCR.pth": dict(norm="batch"),
    "Att_deepCR.pth": dict(norm="batch", gate=True, gate_norm=True),
    "Coasmic_CoNN.pth": dict(norm="group", norm_affine=False),
    "Att_Coasmic_CoNN.pth": dict(norm="group", norm_affine=False, gate=True, gate_norm=True),
}
SHAPES = [(3, 1, 64, 48), (1, 1, 65, 47), (1, 1, 41, 51), (1, 1, 22, 30)]


def count_parameters(**switches) -> int:
    """Count the parameters of a network."""
    return sum(p.numel() for p in UNet(**switches).parameters())


def released_forward(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """Compute the authors' network from the names of its weights, without modules of this package."""
    state = {key.removeprefix("module."): value for key, value in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        if f"{name}.running_mean" in state:
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], False, 0.0, 1e-5)
        return F.group_norm(x, 8 if x.shape[1] >= 8 else 1)

    def conv(x: Tensor, name: str, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def double(x: Tensor, name: str) -> Tensor:
        x = F.relu(norm(conv(x, f"{name}.0", 1), f"{name}.1"))
        return F.relu(norm(conv(x, f"{name}.3", 1), f"{name}.4"))

    def up(below: Tensor, skip: Tensor, name: str) -> Tensor:
        below = F.conv_transpose2d(below, state[f"{name}.up_conv.weight"], state[f"{name}.up_conv.bias"], stride=2)
        gate = f"{name}.attention"
        if f"{gate}.psi.0.weight" in state:
            arms = norm(conv(below, f"{gate}.W_gate.0"), f"{gate}.W_gate.1")
            arms = arms + norm(conv(skip, f"{gate}.W_x.0"), f"{gate}.W_x.1")
            skip = skip * torch.sigmoid(norm(conv(F.relu(arms), f"{gate}.psi.0"), f"{gate}.psi.1"))
        return double(torch.cat([skip, below], 1), f"{name}.conv.conv")

    x1 = double(image, "inc.conv.conv")
    x2 = double(F.max_pool2d(x1, 2), "down1.down_cov.1.conv")
    x3 = double(F.max_pool2d(x2, 2), "down2.down_cov.1.conv")
    return torch.sigmoid(conv(up(up(x3, x2, "up2"), x1, "up1"), "outc.conv"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", RELEASED)
def test_weights_of_the_authors_give_their_probabilities(name, shape, real):
    state = torch.load(real("weights") / name, map_location="cpu", weights_only=True)
    network = UNet(**RELEASED[name]).eval()
    network.load_state_dict(translate(state, "paper"), strict=True)
    sky = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 15 + 300
    sky[..., 3:5, 2:7] += 2000
    height, width = shape[-2:]
    padded = F.pad(sky, (0, -width % 4, 0, -height % 4), mode="replicate")
    with torch.inference_mode():
        ours = network(sky).sigmoid()
        theirs = released_forward(state, padded)[..., :height, :width]
    assert theirs.max() > 0.5, "their network finds the hit of the test image"
    assert (ours - theirs).abs().max() <= 1e-5


def test_weights_with_an_unknown_key_are_refused_by_name():
    with pytest.raises(ValueError, match=r"down3\.down_cov.*'paper'"):
        translate({"module.down3.down_cov.1.conv.0.weight": torch.zeros(1)}, "paper")
    with pytest.raises(ValueError, match="'someone'"):
        translate({}, "someone")


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_plain_networks_have_467233_parameters(norm):
    assert count_parameters(norm=norm) == 467_233


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_gates_add_about_one_percent_of_parameters(norm):
    for gate_norm in (False, True):
        added = count_parameters(norm=norm, gate=True, gate_norm=gate_norm) / count_parameters(norm=norm) - 1
        assert 0.009 < added < 0.013


def test_a_shared_norm_is_one_layer_under_two_names():
    network = UNet(norm="batch", gate=True, gate_norm=True, shared_norm=True)
    assert network.encoder[0].norm1 is network.encoder[0].norm2
    assert network.gates[0].gate_norm is network.gates[0].skip_norm
    assert count_parameters(norm="batch", shared_norm=True) < count_parameters(norm="batch")


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_an_untrained_network_with_a_prior_gives_about_that_probability(norm):
    torch.manual_seed(0)
    image = torch.randn(2, 1, 64, 64) * 10 + 100
    even, rare = (UNet(norm=norm, prior=prior)(image).sigmoid().mean().item() for prior in (None, 0.01))
    assert 0.3 < even < 0.7
    assert 0.004 < rare < 0.025
    assert UNet(prior=0.01).head.bias.item() == pytest.approx(-4.595, abs=1e-3)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, 50])
def test_an_invalid_prior_is_refused_with_its_value(prior):
    with pytest.raises(ValueError, match=f"prior={prior}: expected a probability between 0 and 1"):
        UNet(prior=prior)


def test_the_gate_scales_the_skip_by_a_map_between_zero_and_one():
    network = UNet(norm="group", gate=True).eval()
    gate, skip = torch.randn(2, 1, 32, 8, 8)
    attention = network.gates[0].attention(gate, skip)
    assert attention.shape == (1, 1, 8, 8)
    assert 0 < attention.min() < attention.max() < 1
    assert torch.equal(network.gates[0](gate, skip), skip * attention)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        (dict(norm="layer"), "'layer'"),
        (dict(norm="group", channels=12), "channels=12"),
        (dict(depth=0), "depth=0"),
    ],
)
def test_an_invalid_network_is_refused_with_its_value(switches, message):
    with pytest.raises(ValueError, match=message):
        UNet(**switches)


@pytest.mark.parametrize("gate", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_logit_depends_on_pixels_within_the_receptive_field_only(depth, gate):
    torch.manual_seed(0)
    network = UNet(depth=depth, channels=4, gate=gate).double().eval()
    image = torch.randn(1, 1, 160, 160, dtype=torch.double)
    farthest = 0
    for place in range(80, 80 + network.total_stride):  # every position relative to the grid of the pooling
        pixels = image.clone().requires_grad_()
        network(pixels)[0, 0, place, place].backward()
        rows = pixels.grad[0, 0].nonzero()[:, 0]
        farthest = max(farthest, place - int(rows.min()), int(rows.max()) - place)
    assert network.receptive_field_radius - network.total_stride < farthest <= network.receptive_field_radius
