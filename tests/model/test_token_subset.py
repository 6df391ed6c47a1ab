import dataclasses

import pytest
import timm
import torch

from mrkd.config import Config, ModelConfig
from mrkd.model.backbone import MaskedBackbone, create_vit
from mrkd.model.teacher_student import TeacherStudent
from mrkd.model.token_subset import supports_token_subset
from mrkd.objective.checks import needs_of
from mrkd.objective.resolve import resolve_terms
from mrkd.train.profiling import count_operations

SMALL = ModelConfig(patch=8, width=16, depth=2, heads=2)


def backbone_of(drop_path=0.0, **options):
    return MaskedBackbone(create_vit(SMALL, 32, drop_path), **options).train()


def drawn(images=5):
    torch.manual_seed(1)
    mask = torch.rand(images, 16) < 0.3
    return torch.randn(images, 3, 32, 32), mask, mask.flatten().nonzero().flatten()


@pytest.mark.parametrize("activation_checkpointing", [False, True])
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_selected_tokens_and_their_gradients_are_those_of_the_full_block(drop_path, activation_checkpointing):
    backbone = backbone_of(drop_path, activation_checkpointing=activation_checkpointing).double()
    images, mask, patch_index = drawn()
    images = images.double()
    results = []
    for index in (None, patch_index):
        torch.manual_seed(2)  # stochastic depth drops the same paths of the same images
        output = backbone(images, mask, index)
        patches = output.selected_patch_tokens if index is not None else output.patch_tokens.flatten(0, 1)[patch_index]
        weights = torch.linspace(1.0, 2.0, 16).double()
        loss = (output.cls_tokens * weights).square().sum() + (patches * weights).sin().sum()
        gradients = torch.autograd.grad(loss, list(backbone.parameters()))
        results.append((output.cls_tokens, patches, *gradients))
    torch.testing.assert_close(results[1], results[0])


def test_without_selected_patches_only_class_tokens_are_returned():
    backbone = backbone_of()
    images, mask, _ = drawn()
    output = backbone(images, mask, torch.empty(0, dtype=torch.int64))
    assert output.features.shape == (5, 16)
    assert output.patch_tokens is None
    torch.testing.assert_close(output.cls_tokens, backbone(images, mask).cls_tokens)


@pytest.mark.parametrize("name", ["vit_small_patch16_rope_224", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
def test_rotary_networks_with_registers_return_selected_tokens_too(name):
    vit = create_vit(ModelConfig(name=name), 56 if "14" in name else 64)
    assert supports_token_subset(vit.blocks[-1])
    backbone = MaskedBackbone(vit)
    images, patch_index = torch.randn(2, 3, *[56 if "14" in name else 64] * 2), torch.tensor([0, 3, 17, 20])
    with torch.no_grad():
        full, part = backbone(images), backbone(images, None, patch_index)
    torch.testing.assert_close(part.cls_tokens, full.cls_tokens)
    torch.testing.assert_close(part.selected_patch_tokens, full.patch_tokens.flatten(0, 1)[patch_index])


def test_layer_scale_is_applied_to_a_subset_of_tokens():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, init_values=0.3, dynamic_img_size=True)
    backbone, (images, _, _) = MaskedBackbone(vit), drawn()
    patch_index = torch.tensor([0, 3, 4])
    with torch.no_grad():
        full, part = backbone(images), backbone(images, None, patch_index)
    torch.testing.assert_close(
        part.features, torch.cat([full.cls_tokens, full.patch_tokens.flatten(0, 1)[patch_index]])
    )


def test_other_kinds_of_blocks_and_blocks_with_requested_outputs_run_for_all_tokens():
    kept = backbone_of(keep_blocks=(1,))
    assert not kept.skips_unused_tokens
    images, mask, patch_index = drawn()
    output = kept(images, mask, patch_index)
    assert output.blocks[0].shape == (5, 17, 16)
    torch.testing.assert_close(output.selected_patch_tokens, kept(images, mask).patch_tokens.flatten(0, 1)[patch_index])
    assert not supports_token_subset(timm.create_model("vit_relpos_small_patch16_224", pretrained=False).blocks[-1])


@pytest.mark.parametrize(("method", "all_patches"), [("ibot", False), ("simclr", False), ("rkd-d", True)])
def test_a_method_is_given_the_patches_that_its_terms_use(method, all_patches):
    config = dataclasses.replace(Config(model=SMALL), objective=dataclasses.replace(Config().objective, method=method))
    needs = needs_of(resolve_terms(config.objective))
    assert needs.patches is all_patches
    pair = TeacherStudent(config, needs)
    step = pair(torch.randn(2, 4, 3, 32, 32), torch.randn(1, 4, 3, 16, 16), torch.rand(2, 4, 16) < 0.3)
    assert (step.student.patch_backbone is not None) is all_patches
    assert step.student_local.patch_backbone is None
    assert step.student.cls_backbone.shape == (2, 4, 16)


def test_the_last_blocks_mlp_skips_unused_tokens():
    backbone = backbone_of()
    images, mask, _ = drawn(images=32)
    nothing = torch.empty(0, dtype=torch.int64)
    spared = count_operations(lambda: backbone(images, mask)) - count_operations(
        lambda: backbone(images, mask, nothing)
    )
    assert spared == 2 * (32 * 16) * 2 * 16 * 64  # two products for 16 patches of 32 images
