"""Losses of pictures that any animator's training shares: pyramid, structure, perceptual, critics, random warps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omote.errors import InputError, WeightsError
from omote.models.face_recognition import SIZE, TEMPLATE, FaceRecognition, align_face
from omote.models.vgg19 import Vgg19
from omote.training.adversarial import feature_matching, hinge_critic, hinge_maker
from omote.training.critic import Adversarial
from omote.training.equivariance import RandomWarp, equivariance_loss
from omote.training.perceptual import PerceptualLoss, StructuralLoss
from omote.training.pyramid import AntiAlias, Pyramid, smoothing_kernel


def test_the_blur_is_the_published_gaussian_sampled_at_every_nth_pixel() -> None:
    kernel = smoothing_kernel(0.25)
    assert len(kernel) == 13
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    assert (kernel[6] / kernel[8]).item() == pytest.approx(float(torch.tensor(2 / 1.5**2).exp()), rel=1e-5)
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 16, 12] = 1
    small = AntiAlias(0.25)(image)
    assert small.shape == (1, 1, 8, 8)
    assert small[0, 0, 4, 3].item() == pytest.approx(kernel[6].item() ** 2, rel=1e-5)
    assert small[0, 0, 5, 3].item() == pytest.approx((kernel[6] * kernel[10]).item(), rel=1e-5)
    assert [level.shape[-1] for level in Pyramid()(image)] == [32, 16, 8, 4]
    assert torch.equal(next(iter(Pyramid()(image))), image)
    with pytest.raises(InputError):
        smoothing_kernel(1.0)


def test_structure_of_a_shift_in_brightness_is_that_shift_at_each_scale() -> None:
    made, real = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.4)
    inner = StructuralLoss()
    inner.pyramid = Pyramid((1.0,))
    assert inner(made, real).item() == pytest.approx(0.1, abs=1e-6)
    edge = real.clone()
    edge[..., 32:] = 0.9  # 0.5 on half of the pixels, and one step of 0.5 in 63
    assert inner(edge, real).item() == pytest.approx(0.25 + 0.5 / 63, abs=1e-5)
    assert StructuralLoss()(made, made).item() == 0


def vgg_tensors() -> dict[str, Tensor]:
    return {name: 0.1 * torch.randn_like(value) for name, value in Vgg19().state_dict().items()}


def test_vgg_reads_published_names_and_refuses_others(tmp_path: Path) -> None:
    tensors = vgg_tensors()
    assert len(tensors) == 26
    assert tensors["features.28.weight"].shape == (512, 512, 3, 3)
    torch.save({**tensors, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pth")
    net = Vgg19.load(tmp_path / "vgg.pth")
    seen = net(torch.rand(1, 3, 32, 32))
    assert [tuple(map.shape[1:]) for map in seen] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip
    first = net.features["0"]
    image = torch.rand(1, 3, 16, 16)
    mean, deviation = (
        (torch.tensor(v).view(3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    assert torch.allclose(net(image)[0], first((image - mean) / deviation).relu(), atol=1e-6)
    loss = PerceptualLoss(net)
    other = torch.rand(1, 3, 16, 16, requires_grad=True)
    loss(other, image).backward()
    assert other.grad is not None
    assert float(other.grad.abs().sum()) > 0
    assert float(loss(image, image)) == 0
    with pytest.raises(WeightsError, match=r"features.28.bias is missing"):
        Vgg19.from_published({k: v for k, v in tensors.items() if k != "features.28.bias"})
    with pytest.raises(WeightsError, match="expected"):
        Vgg19.from_published({**tensors, "features.0.bias": torch.zeros(3)})


def test_faces_are_aligned_to_the_template_and_embedded_as_unit_vectors() -> None:
    net = FaceRecognition((1, 1, 1, 1))
    again = FaceRecognition.from_published(net.state_dict())
    faces = torch.rand(2, 3, SIZE, SIZE)
    assert torch.allclose(net(faces), again.train()(faces))
    assert torch.allclose(again(faces).norm(dim=1), torch.ones(2))
    with pytest.raises(WeightsError):
        FaceRecognition.from_published({"weight": torch.zeros(1)})
    # A face that lies as in the template, but half as large and shifted, is enlarged back.
    wide = torch.rand(1, 3, 2 * SIZE, 2 * SIZE)
    points = (torch.tensor(TEMPLATE) + 20) / SIZE - 1
    found = align_face(wide, points[None])
    assert torch.allclose(found[0], wide[0, :, 20 : 20 + SIZE, 20 : 20 + SIZE], atol=1e-3)


def test_hinge_losses_by_hand() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert hinge_critic(real, made).item() == pytest.approx(0.25 + 0.75)
    assert hinge_maker(made).item() == pytest.approx(0.75)
    one, two = torch.ones(2, 3), torch.zeros(2, 3)
    assert feature_matching([one, one], [two, one]).item() == 1


def test_points_follow_the_warped_picture() -> None:
    """What is at p in the warped picture is at warp(p) in the plain one: shown on a picture of coordinates."""
    warp = RandomWarp.draw(2, torch.Generator().manual_seed(1))
    axis = (2 * torch.arange(64) + 1) / 64 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    plain = torch.stack([x, y])[None].expand(2, -1, -1, -1)
    seen = warp.picture(plain)
    places = torch.tensor([[10, 20], [40, 33], [30, 50]])
    points = torch.stack([axis[places[:, 1]], axis[places[:, 0]]], 1)[None].expand(2, -1, -1)
    assert torch.allclose(seen[:, :, places[:, 0], places[:, 1]].transpose(1, 2), warp(points), atol=1e-4)
    assert float((warp(points) - points).abs().max()) > 0.02


def test_an_equivariant_predictor_has_no_loss_and_another_one_has() -> None:
    warp = RandomWarp.draw(3, torch.Generator().manual_seed(2))
    inside = 0.8 * torch.rand(3, 5, 2) - 0.4
    assert equivariance_loss(warp, warp(inside), inside).item() == 0
    assert equivariance_loss(warp, inside, inside).item() > 0.005
    still = RandomWarp(torch.eye(2, 3).expand(3, -1, -1), torch.zeros(3, 25), warp.points)
    assert torch.allclose(still(inside), inside)


class Judged:
    """A task that a critic of one weight judges; the critic rests at first."""

    def __init__(self) -> None:
        self.net: nn.Module = nn.Linear(1, 1)
        self.critic: nn.Module | None = nn.Linear(1, 1)
        self.given: Tensor = torch.zeros(1)

    def to(self, device: torch.device) -> None: ...

    def batches(self, epoch: int, skip: int, rank: int, ranks: int) -> Any:
        return [{"x": torch.full((4, 1), 1.0 + n + epoch)} for n in range(5)][skip:]

    def validation(self) -> Any:
        return []

    def loss(self, net: nn.Module, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        made = net(batch["x"])
        assert self.critic is not None
        self.given = made.detach()
        return {"loss": (made - 1).square().mean() - 0.1 * self.critic(made).mean()}

    def critic_loss(self, critic: nn.Module, step: int) -> dict[str, Tensor]:
        return {"critic": hinge_critic(critic(torch.ones(4, 1)), critic(self.given))} if step >= 2 else {}

    def measure(self, net: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        return dict(means)

    def save(self, net: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
        path.write_text("saved")


def test_a_critic_learns_beside_the_network_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omote.training.curves import Log
    from omote.training.engine import Engine, EngineOptions
    from omote.training.schedule import Budget, LearningRate

    monkeypatch.setattr(Log, "draw", lambda self: None)

    def train(folder: Path, steps: int) -> Engine:
        torch.manual_seed(0)
        options = EngineOptions(Budget(steps=steps), LearningRate(0.02), precision="float32", report_every=1)
        engine = Engine(Judged(), options, folder, {}, model="named")
        engine.run()
        return engine

    def weights(engine: Engine) -> list[Tensor]:
        assert engine.opponent is not None
        moments = [s["exp_avg"] for s in engine.opponent.optimizer.state_dict()["state"].values()]
        return [*engine.net.state_dict().values(), *engine.opponent.net.state_dict().values(), *moments]

    assert isinstance(Judged(), Adversarial)
    early = train(tmp_path / "early", 2)
    assert early.opponent is not None
    torch.manual_seed(0)
    assert torch.equal(early.opponent.net.weight, Judged().critic.weight)  # type: ignore[union-attr, arg-type]
    whole = train(tmp_path / "whole", 8)
    train(tmp_path / "twice", 4)
    twice = train(tmp_path / "twice", 8)
    for a, b in zip(weights(whole), weights(twice), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(weights(whole)[2], weights(early)[2])
    assert (tmp_path / "twice" / "named").read_text() == "saved"
    assert '"critic"' in (tmp_path / "twice" / "log.jsonl").read_text()
