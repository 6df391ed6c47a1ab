"""A frozen teacher of any kind, on the student's views. Axes: V views, B images, S pixels, N patches, D width."""

import pytest
import timm
import torch

from mrkd.data.augment.views import MEAN, STD, normalize
from mrkd.errors import UserError
from mrkd.model.frozen_teacher import FrozenTeacher, Preparation, TrainedNetwork

GRID = (4, 4)


def trained(name: str, size: int = 32, mean=MEAN, std=STD, any_size=True, **arguments) -> TrainedNetwork:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0, **arguments)
    preparation = Preparation(mean=mean, std=std, size=size, any_size=any_size)
    return TrainedNetwork(network=network, preparation=preparation, source="here", name=name, sha256="0" * 64)


def registers(**more) -> TrainedNetwork:
    sizes = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return trained("vit_tiny_patch16_224", **{"img_size": 32, "reg_tokens": 3, **sizes, **more})


def rotary() -> TrainedNetwork:
    sizes = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return trained("vit_small_patch16_dinov3", img_size=32, **sizes)


def views(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [registers, rotary], ids=["registers", "rotary"])
def test_a_vit_gives_its_class_token_and_its_patches_without_registers(make):
    network = make().network.eval()
    frozen = FrozenTeacher(make(), view_size=32, grid=GRID, patches=True)
    tokens = frozen(views())
    with torch.no_grad():
        expected = network.forward_features(views().flatten(0, 1))
    assert torch.equal(tokens.cls_backbone.flatten(0, 1), network.forward_head(expected, pre_logits=True))
    assert torch.equal(tokens.patch_backbone.flatten(0, 1), expected[:, network.num_prefix_tokens :])
    assert tokens.patch_backbone.shape == (2, 3, 16, frozen.width)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not tokens.cls_backbone.requires_grad
    assert not frozen.network.training


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit_relpos"])
def test_other_networks_give_pooled_features_and_their_map_on_the_students_grid(name):
    made = trained(name, size=96) if name != "test_vit_relpos" else trained(name, size=96, img_size=96)
    frozen = FrozenTeacher(made, view_size=96, grid=GRID, patches=True)
    tokens = frozen(views(96))
    assert tokens.cls_backbone.shape == (2, 3, frozen.width)
    assert tokens.patch_backbone.shape == (2, 3, 16, frozen.patch_width)
    with torch.no_grad():
        assert torch.allclose(made.network(views(96).flatten(0, 1)), tokens.cls_backbone.flatten(0, 1), atol=1e-6)


def test_a_constant_map_stays_constant_and_a_corner_stays_in_its_corner_on_another_grid():
    frozen = FrozenTeacher(registers(), view_size=32, grid=(2, 2))
    patches = torch.zeros(1, 5, 16)
    patches[:, 0], patches[:, 1, 0] = 3.0, 1.0
    moved = frozen._on_the_grid(patches)
    assert moved.shape == (1, 4, 5)
    assert torch.allclose(moved[0, :, 0], torch.full((4,), 3.0))
    assert moved[0, :, 1].argmax() == 0


def test_the_teacher_sees_images_under_its_own_normalisation_and_at_its_own_size():
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.5, 0.125)
    made = registers(mean=mean, std=std)
    given = FrozenTeacher(made, view_size=32, grid=GRID).prepared(normalize(images))
    expected = (images / 255.0 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(given, expected, atol=1e-5)
    same = FrozenTeacher(registers(), view_size=32, grid=GRID)
    assert torch.equal(same.prepared(normalize(images)), normalize(images))
    fixed = FrozenTeacher(registers(img_size=64, size=64, any_size=False), view_size=32, grid=GRID)
    assert fixed.prepared(normalize(images)).shape == (5, 3, 64, 64)
    larger = FrozenTeacher(registers(), view_size=32, size=48, grid=GRID, patches=True)
    assert larger(views()).patch_backbone.shape == (2, 3, 16, 24)


def test_a_vit_made_for_another_size_takes_the_students_where_it_is_asked_to():
    tokens = FrozenTeacher(
        registers(img_size=64, size=64, any_size=False), view_size=32, size=32, grid=GRID, patches=True
    )(views())
    assert tokens.patch_backbone.shape == (2, 3, 16, 24)


def test_micro_batches_and_bfloat16_change_only_rounding():
    whole = FrozenTeacher(registers(), view_size=32, grid=GRID, patches=True)
    parts = FrozenTeacher(registers(), view_size=32, grid=GRID, patches=True, at_a_time=2)
    assert torch.allclose(whole(views()).patch_backbone, parts(views()).patch_backbone, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        lower = whole(views()).cls_backbone
    assert torch.allclose(lower.float(), whole(views()).cls_backbone, atol=0.1)


def test_attention_is_given_by_vits_and_refused_of_others():
    frozen = FrozenTeacher(registers(), view_size=32, grid=GRID, patches=True, attention=True)
    tokens, plain = frozen(views()), FrozenTeacher(registers(), view_size=32, grid=GRID, patches=True)(views())
    assert tokens.attention.shape == (2, 3, 2, 16)
    assert torch.allclose(tokens.attention.sum(dim=-1), torch.ones(2, 3, 2))
    assert torch.allclose(tokens.cls_backbone, plain.cls_backbone, atol=1e-5)
    assert torch.allclose(tokens.patch_backbone, plain.patch_backbone, atol=1e-5)
    with pytest.raises(UserError, match="which the teacher test_resnet has not"):
        FrozenTeacher(trained("test_resnet"), view_size=96, grid=GRID, attention=True)


def test_sizes_and_grids_that_mean_nothing_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"multiples of its patch of 8 pixels, got 37: set teacher.size, such as 40"):
        FrozenTeacher(registers(), view_size=32, size=37, grid=GRID)
    with pytest.raises(UserError, match=r"mixer_s32_224, made for 224 pixels, cannot take 64: .*set teacher.size"):
        FrozenTeacher(trained("mixer_s32_224", size=224), view_size=64, grid=GRID)
    with pytest.raises(UserError, match="has 1 patch at 32 pixels, no grid"):
        FrozenTeacher(trained("test_resnet"), view_size=32, grid=GRID, patches=True)


def test_features_that_say_nothing_are_named_at_the_first_step():
    collapsed = registers()
    torch.nn.init.zeros_(collapsed.network.norm.weight)
    torch.nn.init.ones_(collapsed.network.norm.bias)
    with pytest.raises(UserError, match="here gives the same features for every image"):
        FrozenTeacher(collapsed, view_size=32, grid=GRID)(views())
    broken = registers()
    torch.nn.init.constant_(broken.network.norm.weight, torch.nan)
    with pytest.raises(UserError, match="not finite"):
        FrozenTeacher(broken, view_size=32, grid=GRID)(views())
