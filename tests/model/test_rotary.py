"""Networks with rotary position embeddings, with or without an absolute position embedding."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file

import mrkd
from mrkd.attention.maps import last_block_attention
from mrkd.config import ModelConfig
from mrkd.data.augment.views import normalize
from mrkd.model.backbone import MaskedBackbone, create_vit, timm_arguments
from mrkd.runs.initial_weights import load_weights

NETWORKS = [
    ("eva02_tiny_patch14_224", 28),  # no bias on the keys, a position embedding as well
    ("vit_small_patch16_dinov3", 32),  # registers, separate biases, rotation of halves
    ("vit_small_patch16_rope_mixed_224", 32),  # learnt frequencies, different in each block
    ("vit_pe_core_tiny_patch16_384", 32),  # a norm before the blocks, tokens pooled by attention
    ("eva02_base_patch16_clip_224", 32),  # separate queries and keys, a norm after the attention
]
SMALLER = {"embed_dim": 96, "depth": 2, "num_heads": 4}


@pytest.fixture(scope="module", params=NETWORKS, ids=[name for name, _ in NETWORKS])
def network(request):
    name, size = request.param
    torch.manual_seed(0)
    if "base" in name:
        _, arguments = timm_arguments(ModelConfig(name=name), size)
        vit = timm.create_model(name, **arguments, **SMALLER).eval()
    else:
        vit = create_vit(ModelConfig(name=name), size).eval()
    for parameter in vit.parameters():  # biases and scales are initialised to 0 or 1, which would hide errors
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return vit, size


@torch.no_grad()
def test_unmasked_tokens_are_those_of_plain_timm(network):
    vit, size = network
    images = torch.randn(2, 3, size, size)
    expected = vit.forward_features(images)
    found = MaskedBackbone(vit)(images).features
    torch.testing.assert_close(found[:, 0], expected[:, 0])
    torch.testing.assert_close(found[:, 1:], expected[:, vit.num_prefix_tokens :])


@torch.no_grad()
def test_a_masked_patch_hides_its_pixels_and_nothing_else(network):
    vit, size = network
    backbone, images = MaskedBackbone(vit), torch.randn(1, 3, size, size)
    mask = torch.tensor([[True, False, False, False]])
    changed = images.clone()
    changed[:, :, : size // 2, : size // 2] = 0.0
    torch.testing.assert_close(backbone(changed, mask).features, backbone(images, mask).features)
    assert not torch.allclose(backbone(changed).features, backbone(images).features)


def test_recomputed_attention_is_the_last_blocks(network, monkeypatch):
    vit, size = network
    images = torch.randint(
        0, 256, (2, 3, 2 * size, 2 * size), dtype=torch.uint8
    )  # another grid than that of the network
    seen = []
    attention = vit.blocks[-1].attn
    monkeypatch.setattr(attention, "fused_attn", False)
    hook = attention.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    vit.forward_features(normalize(images))
    hook.remove()
    expected = seen[0][:, :, 0, vit.num_prefix_tokens :]
    torch.testing.assert_close(
        last_block_attention(vit, images).heads.flatten(-2),
        expected / expected.sum(-1, keepdim=True),
        atol=1e-5,
        rtol=1e-4,
    )


def test_activation_checkpointing_changes_no_gradient(network):
    vit, size = network
    images = torch.randn(2, 3, size, size)
    gradients = []
    for activation_checkpointing in (False, True):
        vit.zero_grad()
        MaskedBackbone(vit, activation_checkpointing=activation_checkpointing)(
            images
        ).features.square().sum().backward()
        of_rotation = [p.grad.clone() for name, p in vit.named_parameters() if name.startswith("rope.")]
        gradients.append([vit.blocks[0].norm1.weight.grad.clone(), *of_rotation])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("name", "size"), [NETWORKS[0], NETWORKS[1], NETWORKS[3]])
def test_weights_of_a_timm_file_are_loaded_at_another_resolution(name, size, tmp_path):
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=0)
    save_file(plain.state_dict(), tmp_path / "x.safetensors")
    vit = create_vit(ModelConfig(name=name), size)
    load_weights(vit, str(tmp_path / "x.safetensors"))
    assert torch.equal(vit.blocks[3].norm2.weight, plain.blocks[3].norm2.weight)
    assert torch.equal(vit.patch_embed.proj.weight, plain.patch_embed.proj.weight)
    last = plain.fc_norm if isinstance(plain.norm, torch.nn.Identity) else plain.norm
    assert torch.equal(vit.norm.weight, last.weight)


def test_a_trained_and_exported_rotary_vit_is_opened_by_plain_timm(tiny_config, tmp_path):
    config = dataclasses.replace(
        tiny_config,
        data=dataclasses.replace(tiny_config.data, size=28),
        model=ModelConfig(name="eva02_tiny_patch14_224"),
        train=dataclasses.replace(tiny_config.train, steps=2),
    )
    mrkd.pretrain(config, tmp_path / "run")
    # `export` compares the features of the file with those of the run, and fails if they differ.
    mrkd.export(tmp_path / "run", tmp_path / "backbone.safetensors")
    mrkd.export(tmp_path / "run", tmp_path / "hub", format="hf")
