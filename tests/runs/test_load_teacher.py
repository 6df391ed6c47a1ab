"""Finding a trained network on this machine."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

import mrkd
from mrkd.config import TeacherConfig
from mrkd.errors import UserError
from mrkd.runs.load_teacher import open_teacher
from mrkd.runs.run import BACKBONE
from mrkd.runs.weights import load_backbone, open_run


def opened(source, **settings):
    return open_teacher(TeacherConfig(source=str(source), **settings))


def small(name: str = "test_vit", **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **arguments).eval()


def features(network: torch.nn.Module, size: int = 160) -> torch.Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network.forward_head(network.forward_features(images), pre_logits=True)


def test_a_run_and_its_exports_are_the_same_teacher(trained_run, tmp_path):
    found = opened(trained_run)
    assert (found.preparation.size, found.preparation.any_size) == (32, True)
    for form, name in (("timm", "x.safetensors"), ("torch", "x.pt"), ("hf", "folder")):
        mrkd.export(trained_run, tmp_path / name, format=form)
        exported = opened(tmp_path / name)
        assert exported.sha256 == found.sha256
        assert exported.preparation.mean == found.preparation.mean
        assert exported.preparation.size == 32
    assert torch.equal(features(found.network, 32), features(load_backbone(open_run(trained_run)), 32))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_a_plain_file_with_a_timm_name_gives_timms_features_and_preparation(name, tmp_path):
    model = small(name)
    save_file(model.state_dict(), tmp_path / "x.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "x.pth")
    for file in ("x.safetensors", "x.pth"):
        found = opened(tmp_path / file, model=name)
        assert torch.equal(features(found.network), features(model))
        assert found.preparation.mean == tuple(model.pretrained_cfg["mean"])
        assert found.preparation.size == 160
        assert not any(parameter.requires_grad for parameter in found.network.parameters())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 2, "reg_tokens": 2, "img_size": 160}),
        ("vit_small_patch16_dinov3", {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 160}),
    ],
)
def test_a_folder_in_the_hubs_form_says_its_architecture_itself(name, arguments, tmp_path):
    model = small(name, **arguments)
    save_for_hf(model, tmp_path, model_args=arguments)
    assert torch.equal(features(opened(tmp_path).network), features(model))


def test_a_timm_name_is_found_in_the_hubs_cache_and_nothing_is_downloaded(tmp_path, monkeypatch):
    model = small()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"weights of test_vit are not on this machine \(once: hf download timm/test_"):
        opened("test_vit")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda _, file: str(tmp_path / file) if (tmp_path / file).is_file() else None,
    )
    assert torch.equal(features(opened("test_vit").network), features(model))


def test_other_weights_have_another_hash(trained_run, tmp_path):
    state = load_backbone(open_run(trained_run)).state_dict()
    mrkd.export(trained_run, tmp_path / "x.pt", format="torch")
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    state["norm.bias"][0] += 1e-6
    torch.save({**saved, "state_dict": state}, tmp_path / "x.pt")
    assert opened(tmp_path / "x.pt").sha256 != opened(trained_run).sha256


def refuse(match: str, source, **settings) -> None:
    with pytest.raises(UserError, match=match) as refusal:
        opened(source, **settings)
    assert "\n" not in str(refusal.value)


def test_what_is_missing_unknown_or_of_another_network_is_named_in_one_line(trained_run, tmp_path):
    model = small()
    save_file(model.state_dict(), tmp_path / "x.safetensors")
    save_file({"head.weight": model.head.weight, "head.bias": model.head.bias}, tmp_path / "head.safetensors")
    save_file({**model.state_dict(), "extra": torch.ones(1)}, tmp_path / "more.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    refuse("there is no file or folder .*no.pth", tmp_path / "no.pth")
    refuse("unknown timm model 'resnet19': did you mean 'resnet", "resnet19")
    refuse("does not say what network it is of: set teacher.model", tmp_path / "x.safetensors")
    refuse("unknown timm model 'resnet19'", tmp_path / "x.safetensors", model="resnet19")
    refuse("does not fit test_convnext: .* missing", tmp_path / "more.safetensors", model="test_convnext")
    refuse(r"does not fit test_vit: 1 unknown \(extra\)", tmp_path / "more.safetensors", model="test_vit")
    refuse(
        "no weight of test_vit but its classifier's, head",
        tmp_path / "head.safetensors",
        model="test_vit",
    )
    refuse("cannot read .*broken.pth", tmp_path / "broken.pth", model="test_vit")
    refuse("holds none of backbone.safetensors", tmp_path / "empty")
    refuse("names no architecture of timm", tmp_path / "other")
    refuse("says that it is vit_tiny_patch16_224, got teacher.model resnet18", trained_run, model="resnet18")


def test_an_unfinished_run_is_no_teacher(trained_run, tmp_path):
    (tmp_path / "config.yaml").write_text((Path(trained_run) / "config.yaml").read_text())
    (tmp_path / BACKBONE).write_bytes((Path(trained_run) / BACKBONE).read_bytes())
    refuse("has not finished training", tmp_path)
