"""Starting from weights on the disk."""

import argparse

import pytest
import timm
import torch
from safetensors.torch import save_file

from mrkd.config import ModelConfig
from mrkd.config.overrides import build, flatten, to_dict
from mrkd.errors import UserError
from mrkd.model.backbone import MaskedBackbone, create_vit
from mrkd.runs.initial_weights import load_weights
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone
from mrkd.train.pretrain import pretrain

NAME = "test_vit"
"""timm's own network for tests: 160 pixels, patches of 16."""


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=10).eval()


@pytest.fixture
def vit():
    torch.manual_seed(1)
    return create_vit(ModelConfig(name=NAME), 160).eval()


@pytest.mark.parametrize("kind", ["x.safetensors", "x.pth", "nested.pth", "folder/model.safetensors"])
def test_a_plain_timm_file_gives_the_same_features(plain, vit, tmp_path, kind):
    path, state = tmp_path / kind, plain.state_dict()
    path.parent.mkdir(exist_ok=True)
    if kind.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind.startswith("nested") else state, path)
    load_weights(vit, str(path.parent if kind.startswith("folder") else path))
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(plain.forward_features(images), MaskedBackbone(vit)(images).features)


def test_position_embeddings_are_resampled_to_another_grid(plain, tmp_path):
    save_file(plain.state_dict(), tmp_path / "x.safetensors")
    small = create_vit(ModelConfig(name=NAME), 96)
    load_weights(small, str(tmp_path / "x.safetensors"))
    assert small.pos_embed.shape == (1, 1 + 36, 64)
    assert torch.equal(small.pos_embed[:, 0], plain.pos_embed[:, 0])
    assert torch.equal(small.blocks[0].attn.qkv.weight, plain.blocks[0].attn.qkv.weight)
    # The upper left of the large grid is nearest to the upper left of the small one.
    corners = torch.nn.functional.cosine_similarity(small.pos_embed[:, 1:2], plain.pos_embed[:, 1:], dim=-1)
    assert corners.argmax().item() in (0, 1, 10, 11)


def test_what_does_not_fit_is_named_in_one_line(plain, vit, tmp_path):
    path, state = tmp_path / "x.safetensors", plain.state_dict()
    del state["norm.weight"]
    save_file({**state, "surprise": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"1 missing \(norm.weight\), 1 unknown \(surprise\); set model.name"):
        load_weights(vit, str(path))
    save_file(plain.state_dict(), path)
    other = create_vit(ModelConfig(patch=16, width=32, depth=6, heads=2), 160)
    with pytest.raises(UserError, match=r"must have shape \(.*32.*\), got \(.*64.*\)") as refusal:
        load_weights(other, str(path))
    assert "\n" not in str(refusal.value)


def dino(state):
    """As DINO and iBOT store it."""
    student = {f"module.backbone.{name}": tensor + 1 for name, tensor in state.items()}
    teacher = {f"backbone.{name}": tensor for name, tensor in state.items()}
    heads = {"head.mlp.0.weight": torch.ones(2), "backbone.masked_embed": torch.ones(1, 64)}
    return {
        "student": student,
        "teacher": {**teacher, **heads},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_small", patch_size=16),
    }


def without_head(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("head")}


FOUND = {
    "student and teacher": (
        dino,
        "weights: the network below 'teacher.backbone' in {path}; left out: teacher.backbone.masked_embed, student, "
        "teacher.head, optimizer",
    ),
    "a teacher alone": (
        lambda state: {"teacher": state},
        "weights: the network below 'teacher' in {path}",
    ),
    "a Lightning module": (
        lambda state: {
            "state_dict": {
                **{f"student.backbone.{name}": tensor + 1 for name, tensor in state.items()},
                **{f"teacher.backbone.{name}": tensor for name, tensor in state.items()},
                "teacher.head.weight": torch.ones(1),
            },
            "hyper_parameters": {"lr": 0.1},
        },
        "weights: the network below 'state_dict.teacher.backbone' in {path}; left out: state_dict.student, "
        "state_dict.teacher.head",
    ),
    "a Lightning module with one network": (
        lambda state: {"state_dict": {f"backbone.{name}": tensor for name, tensor in state.items()}},
        "weights: the network below 'state_dict.backbone' in {path}",
    ),
    "a student behind DDP and torch.compile": (
        lambda state: {"student": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
        "weights: the network below 'student.module._orig_mod' in {path}",
    ),
    "a model with its average": (
        lambda state: {"model": {n: t + 1 for n, t in state.items()}, "model_ema": state},
        "weights: the network below 'model_ema' in {path}; left out: model",
    ),
    "an autoencoder": (
        lambda state: {"model": {**state, "mask_token": torch.ones(1), "decoder_blocks.0.norm1.weight": torch.ones(1)}},
        "weights: the network below 'model' in {path}; left out: model.mask_token, model.decoder_blocks",
    ),
    "a mask's embedding": (
        lambda state: {**state, "masked_embed": torch.ones(1, 64)},
        "weights: the network in {path}; left out: masked_embed",
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_the_backbone_is_found_in_what_other_trainings_store_and_what_is_left_out_is_named(plain, vit, tmp_path, kind):
    wrap, said = FOUND[kind]
    path, state = tmp_path / "x.ckpt", without_head(plain.state_dict())
    torch.save(wrap(state), path)
    assert load_weights(vit, str(path)) == said.format(path=path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in vit.state_dict().items())


def test_a_checkpoint_of_our_own_holds_the_teachers_backbone(tiny_config, trained_run):
    run = RunDirectory(trained_run)
    vit = create_vit(run.config().model, 32)
    newest = max((trained_run / "checkpoints").iterdir())
    assert "below 'teacher.backbone.vit'" in load_weights(vit, str(newest))
    expected = load_backbone(run).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in vit.state_dict().items())


@pytest.mark.parametrize("missing", ["norm.weight", "blocks.0.attn.qkv.bias", "cls_token"])
def test_a_checkpoint_that_lacks_a_part_of_the_backbone_is_refused(plain, vit, tmp_path, missing):
    state = without_head(plain.state_dict())
    del state[missing]
    torch.save(dino(state), tmp_path / "x.pth")
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    with pytest.raises(UserError, match=rf"1 missing \({missing}\)"):
        load_weights(vit, str(tmp_path / "x.pth"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in vit.state_dict().items())


def test_names_that_change_what_a_network_computes_are_no_extras(plain, vit, tmp_path):
    state = without_head(plain.state_dict())
    for name in ("blocks.99.norm1.weight", "blocks.0.ls1.gamma", "reg_token"):
        torch.save({"teacher": {**state, name: torch.ones(64)}}, tmp_path / "x.pth")
        with pytest.raises(UserError, match=rf"1 unknown \({name}\)"):
            load_weights(vit, str(tmp_path / "x.pth"))


def test_the_line_about_the_weights_is_printed_once(tiny_config, plain, tmp_path, capsys):
    config = build({**flatten(to_dict(tiny_config), "config"), "model.weights": str(tmp_path / "x.pth")})
    state = create_vit(config.model, 32).state_dict()
    torch.save({"teacher": state, "student": state}, tmp_path / "x.pth")
    pretrain(config, tmp_path / "run")
    assert capsys.readouterr().out.count("weights: the network below 'teacher'") == 1


class Malice:
    """Would write a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


def test_other_files_are_refused_and_nothing_is_unpickled(vit, tmp_path):
    with pytest.raises(UserError, match=r"must be an existing file or folder"):
        load_weights(vit, str(tmp_path / "no.pth"))
    with pytest.raises(UserError, match=r"holds none of backbone.safetensors"):
        load_weights(vit, str(tmp_path))
    torch.save({"model": Malice()}, tmp_path / "x.pth")
    (tmp_path / "y.safetensors").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "z.pth")
    for name in ("x.pth", "y.safetensors", "z.pth"):
        with pytest.raises(UserError, match=rf"cannot read .*{name}"):
            load_weights(vit, str(tmp_path / name))


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_r50_s16_224",
        "vit_base_patch16_18x2_224",
        "vit_relpos_small_patch16_224",
        "levit_128",
        "vit_base_patch16_sapiens2",
    ],
)
def test_networks_of_other_kinds_are_refused_in_one_line(name):
    with (
        torch.device("meta"),
        pytest.raises(UserError, match="a ViT with square patches and pre-norm blocks"),
    ):
        create_vit(ModelConfig(name=name), 224)


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch32_clip_224",
        "vit_small_patch16_dinov3",
        "vit_base_patch16_rope_mixed_224",
        "eva02_base_patch14_224",
    ],
)
def test_common_timm_vits_take_masks_at_their_resolution(name):
    with torch.device("meta"):
        backbone = MaskedBackbone(create_vit(ModelConfig(name=name), 224), keep_attention=True)
        patches = (224 // backbone.vit.patch_embed.patch_size[0]) ** 2
        output = backbone(torch.zeros(2, 3, 224, 224), torch.zeros(2, patches, dtype=torch.bool))
    assert output.features.shape[:2] == (2, 1 + patches)
    assert output.attention.shape[-1] == patches
