"""The inversion network: its inputs, what is missing, what is frozen, and the file it travels in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.models.small_networks import small_hiera, small_mesh

from omote.controls import ARKIT52, FACS102
from omote.errors import InputError, OutputError, WeightsError
from omote.models.inversion import (
    InversionConfig,
    InversionNet,
    load_checkpoint,
    load_pretrained,
    read_description,
    save_checkpoint,
)
from omote.models.inversion.backbones import resize_positions

SHIPPED_LIMIT = 30_000_000


def make(seed: int = 0, **changes: object) -> InversionNet:
    torch.manual_seed(seed)
    return InversionNet(small_hiera(**changes)).eval()


def images(batch: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    shapes = {
        "rgb": (3, 64, 64),
        "normal": (3, 64, 64),
        "eyes_rgb": (2, 3, 48, 64),
        "eyes_normal": (2, 3, 48, 64),
    }
    return {name: torch.randn(batch, *shape, generator=chance) for name, shape in shapes.items()}


@pytest.mark.parametrize("missing", [(), ("rgb",), ("normal",), ("eyes_rgb",), ("eyes_rgb", "eyes_normal")])
def test_each_input_counts_and_may_be_missing(missing: tuple[str, ...]) -> None:
    net, given = make(), images()
    whole = net(**given)
    part = net(**{name: image for name, image in given.items() if name not in missing})
    assert part.shape == (2, 102)
    assert part.dtype == torch.float32
    assert bool(missing) == bool((part - whole).abs().max() > 1e-5)


@pytest.mark.parametrize("missing", [(), ("rgb",), ("normal",), ("eyes_rgb", "eyes_normal")])
def test_float32_pictures_suit_backbones_of_bfloat16(missing: tuple[str, ...]) -> None:
    net = make()
    given = {name: image for name, image in images().items() if name not in missing}
    with torch.no_grad():
        wanted, found = net(**given), net.to(torch.bfloat16)(**given)
    assert net.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert wanted.std().item() > 0.03
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=0.02)


def test_a_missing_modality_is_one_learned_vector() -> None:
    net, given = make(), images()
    seen: list[torch.Tensor] = []
    net.head[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    net(normal=given["normal"])
    features, token = seen[0], net.missing["rgb"]
    assert torch.equal(features[:, : len(token)], token.detach().expand(2, -1))
    assert torch.equal(features[:, -16:], net.missing["eyes"].detach().expand(2, -1))
    net(normal=given["normal"]).sum().backward()
    assert float(token.grad.abs().sum()) > 0


def test_modalities_have_backbones_of_their_own() -> None:
    net = make(modalities=("rgb",))
    assert list(net.backbones) == ["rgb"]
    given = images()
    assert torch.equal(net(**given), net(rgb=given["rgb"], eyes_rgb=given["eyes_rgb"]))
    with pytest.raises(InputError, match="no image to look at"):
        net(normal=given["normal"])


def test_both_eyes_pass_the_same_small_network() -> None:
    net, given = make(), images()
    seen: list[torch.Tensor] = []
    net.head[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    net(**given)
    swapped = {n: image.flip(1) if "eyes" in n else image for n, image in given.items()}
    net(**swapped)
    left, right = seen[0][:, -16:-8], seen[0][:, -8:]
    assert torch.allclose(seen[1][:, -16:], torch.cat([right, left], 1), atol=1e-6)
    assert not torch.allclose(left, right, atol=1e-3)


def test_where_something_is_in_an_eye_crop_matters() -> None:
    net = make().eyes
    assert net is not None
    crop = torch.zeros(1, 6, 48, 64)
    here, there = crop.clone(), crop.clone()
    here[..., 16:32, 8:24], there[..., 16:32, 40:56] = 3, 3
    assert (net(here) - net(there)).abs().max().item() > 0.01


def test_values_stay_within_the_controls_ranges_after_training_only() -> None:
    net, given = make(), images()
    with torch.no_grad():
        net.head[2].bias.fill_(7.0)
    assert torch.equal(net(**given), net.high.expand(2, -1))
    (believed,) = net.train()(**given)
    assert believed.controls.min().item() > 5
    assert believed.identity.shape == believed.pose.shape == (2, 0)  # the head finds neither


@pytest.mark.parametrize(
    ("stages", "kind"), [(0, "hiera"), (1, "hiera"), (3, "hiera"), (4, "hiera"), (2, "resnet50")]
)
def test_frozen_stages_do_not_move(stages: int, kind: str) -> None:
    net = make(frozen_stages=stages, backbone=kind, modalities=("rgb",)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(**images())[0].controls.square().sum().backward()
    optimizer.step()
    inner = "backbones.rgb.net."
    stem = "embeddings" if kind == "hiera" else "embedder"
    parts = {stem: [f"{inner}{stem}."], **{str(k): [f"{inner}encoder.stages.{k}."] for k in range(4)}}
    parts["head"] = ["head.", "eyes."]
    moved = {
        part: any(
            not torch.equal(value, before[name])
            for name, value in net.state_dict().items()
            if any(name.startswith(prefix) for prefix in prefixes)
        )
        for part, prefixes in parts.items()
    }
    expected = {stem: stages == 0, **{str(k): k >= stages for k in range(4)}, "head": True}
    assert moved == expected


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    net, given = make(frozen_stages=2), images()
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, net, precision="float32", steps=3)
    again = load_checkpoint(path, FACS102, rig="facs")
    assert again.config == net.config
    assert not again.training
    assert torch.equal(again(**given), net(**given))
    assert read_description(path)[1] == {"steps": 3}
    save_checkpoint(path, net)
    assert float((load_checkpoint(path)(**given) - net(**given)).detach().abs().max()) < 0.003


def test_large_matrices_are_kept_as_bytes(tmp_path: Path) -> None:
    net = InversionNet(small_mesh(identity=90, points=400, mesh_axes=256, hidden=256))
    assert net.mesh is not None
    for step in net.mesh.steps:
        torch.nn.init.normal_(step.last.weight, std=0.1)
    for precision in ("float16", "int8"):
        save_checkpoint(tmp_path / precision, net, precision=precision)
    stored = load_file(tmp_path / "int8")
    large = {name for name, value in stored.items() if value.dtype == torch.int8}
    steps = range(len(net.mesh.steps))
    assert large == {f"mesh.steps.{k}.{part}.weight" for k in steps for part in ("first", "second")}
    assert all(stored[f"{name}.scale"].shape == stored[name].shape[:1] for name in large)
    again = load_checkpoint(tmp_path / "int8").state_dict()
    for name, value in net.state_dict().items():
        most = value.abs().amax(1, keepdim=True) / 254 if name in large else value.abs() * 2**-11 + 1e-7
        assert bool(((again[name] - value).abs() <= most * 1.001).all()), name
    halves, matrices = ((tmp_path / name).stat().st_size for name in ("float16", "int8"))
    saved = sum(stored[name].numel() for name in large)
    assert matrices == pytest.approx(halves - saved, abs=12_000)  # scales and names


def test_a_scale_without_its_matrix_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = make()
    save_checkpoint(path, net)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), "head.0.nothing.scale": torch.ones(3)}, path, metadata)
    with pytest.raises(WeightsError, match="the weights do not fit their description"):
        load_checkpoint(path)


def test_the_shipped_network_fits_its_place(tmp_path: Path) -> None:
    net = InversionNet(InversionConfig.shipped(FACS102, "facs", identity=90))
    save_checkpoint(tmp_path / "net.safetensors", net, precision="int8")
    assert 5_000_000 < (tmp_path / "net.safetensors").stat().st_size < SHIPPED_LIMIT


def test_the_published_network_is_two_hiera_tiny() -> None:
    config = InversionConfig.paper(FACS102, "facs")
    with torch.device("meta"):
        net = InversionNet(config)
    count = sum(p.numel() for p in net.backbones["rgb"].parameters())
    assert 27e6 < count < 29e6  # Hiera-T has 28 million at 224 px
    assert (config.size, config.align, config.eye_branch, config.frozen_stages) == (512, "center", False, 3)
    assert not any(p.requires_grad for p in net.backbones["rgb"].net.encoder.stages[2].parameters())
    assert all(p.requires_grad for p in net.backbones["normal"].net.encoder.stages[3].parameters())


def test_checkpoints_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, make())
    with pytest.raises(WeightsError, match="made for the rig 'facs', not for 'mine'"):
        load_checkpoint(path, rig="mine")
    with pytest.raises(WeightsError, match=r"102 controls of the rig 'facs', not the 52 of 'arkit52'"):
        load_checkpoint(path, ARKIT52)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "net.safetensors"
    with pytest.raises(WeightsError, match="no such file"):
        load_checkpoint(path)
    save_checkpoint(path, make())
    whole = path.read_bytes()
    state = {name: value.clone() for name, value in load_file(path).items()}  # not mapped to the file
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        load_checkpoint(path)
    save_file(state, path)
    with pytest.raises(WeightsError, match="no inversion network of this version"):
        load_checkpoint(path)
    good = {"format": "omote inversion 1", "config": small_hiera().to_json()}
    save_file({n: v for n, v in state.items() if n != "head.0.weight"}, path, good)
    with pytest.raises(WeightsError, match="do not fit their description"):
        load_checkpoint(path)
    huge = json.loads(small_hiera().to_json()) | {"embed_dim": 10**9}
    save_file(state, path, good | {"config": json.dumps(huge)})
    with pytest.raises(WeightsError, match="embed_dim"):
        load_checkpoint(path)


def test_weights_that_are_not_numbers_are_not_saved(tmp_path: Path) -> None:
    net = make()
    with torch.no_grad():
        net.head[0].weight[0, 0] = 1e9  # beyond float16
    with pytest.raises(OutputError, match="not finite"):
        save_checkpoint(tmp_path / "net.safetensors", net)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 100},
        {"frozen_stages": 5},
        {"modalities": ("depth",)},
        {"modality_dropout": (0.7, 0.7)},
        {"heads": (3, 1, 1, 1)},
        {"low": (0.0,)},
        {"eye_size": (60, 48)},
        {"backbone": "vit"},
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        small_hiera(**changes)


def test_wrong_shapes_are_refused() -> None:
    net, given = make(), images()
    with pytest.raises(InputError, match="expected"):
        net(rgb=given["rgb"][..., :32])
    with pytest.raises(InputError, match="eyes_rgb"):
        net(rgb=given["rgb"], eyes_rgb=given["eyes_rgb"][:1])


def test_pretrained_weights_from_a_folder_are_resized(tmp_path: Path) -> None:
    from omote.models.inversion.backbones import make_hiera

    torch.manual_seed(5)
    published = make_hiera(small_hiera(size=128))
    published.save_pretrained(tmp_path / "hiera")
    net = make()
    load_pretrained(net, str(tmp_path / "hiera"))
    for name in ("rgb", "normal"):
        own = net.backbones[name].net
        assert torch.equal(
            own.encoder.stages[3].layers[0].mlp.fc1.weight,
            published.encoder.stages[3].layers[0].mlp.fc1.weight,
        )
        wanted = resize_positions(published.embeddings.position_embeddings, 64)
        assert torch.equal(own.embeddings.position_embeddings, wanted)
    with pytest.raises(WeightsError, match="another shape"):
        load_pretrained(make(embed_dim=16), str(tmp_path / "hiera"))


def test_position_embeddings_grow_as_in_the_published_code() -> None:
    from omote.models.inversion.backbones import make_hiera

    torch.manual_seed(2)
    small = make_hiera(small_hiera()).embeddings
    grown = resize_positions(small.position_embeddings, 256)
    wanted = small.get_position_embedding(torch.zeros(1, 256, 8), 128, 128, interpolate_pos_encoding=True)
    assert torch.allclose(grown, wanted, atol=1e-6)
    assert resize_positions(grown, 256) is grown


def test_pretrained_weights_out_of_reach_are_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="the hub cannot be reached"):
        load_pretrained(make(), "facebook/no-such-net")
    with pytest.raises(WeightsError, match="no pretrained backbone there"):
        load_pretrained(make(), str(tmp_path))
