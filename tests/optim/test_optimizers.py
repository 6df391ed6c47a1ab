import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim import SGD

import mrkd
from mrkd.config import HeadConfig, OptimConfig
from mrkd.errors import UserError
from mrkd.model.head import Head
from mrkd.optim.muon import Muon
from mrkd.optim.optimizers import OPTIMIZERS, Group, Optimizers, make_optimizer
from tests.helpers.interruptions import assert_like, same, settings, weights
from tests.helpers.stopping import stopped

BLOCK = ["attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"]
LINEAR = {"head.mlp.0.weight", "head.mlp.3.weight", "head.mlp.6.weight", "predictor.weight"}


class Network(nn.Module):
    """A small network with the parameter names of `mrkd.model.teacher_student.Network`."""

    def __init__(self, name: str = "vit_tiny_patch16_224", **sizes: object) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.vit = timm.create_model(name, img_size=32, num_classes=0, depth=2, embed_dim=32, **sizes)
        self.backbone.mask_token = nn.Parameter(torch.zeros(32))
        self.head = Head(32, HeadConfig(prototypes=12, hidden=24, bottleneck=8, layers=3))
        self.predictor = nn.Linear(32, 32)


def named_groups(network: nn.Module, **config: object) -> list[tuple[type, dict[str, object], set[str]]]:
    """For each group: class of the optimizer, settings, and names of the parameters."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    optimizers = make_optimizer(network, OptimConfig(**config))
    return [
        (type(optimizer), group, {names[parameter] for parameter in group["params"]})
        for optimizer, _ in optimizers._members
        for group in optimizer.param_groups
    ]


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(num_heads=2)


def block_names(*leaves: str) -> set[str]:
    return {f"backbone.vit.blocks.{block}.{leaf}" for block in range(2) for leaf in leaves}


def test_adamw_gets_all_parameters_and_decays_only_matrices(network):
    (kind, _, decayed), (_, _, exempt) = named_groups(network)
    assert kind is torch.optim.AdamW
    assert decayed == {"backbone.vit.patch_embed.proj.weight", *block_names(*BLOCK), *LINEAR}
    assert exempt == {name for name, _ in network.named_parameters()} - decayed
    assert {"head.prototypes", "backbone.mask_token", "backbone.vit.pos_embed"} <= exempt


def test_decay_embeddings_decays_tokens_positions_and_prototypes_too(network):
    plain = named_groups(network)[0][2]
    (_, _, decayed), _ = named_groups(network, decay_embeddings=True)
    embeddings = {"backbone.vit.cls_token", "backbone.vit.pos_embed", "backbone.mask_token", "head.prototypes"}
    assert decayed == plain | embeddings


@pytest.mark.parametrize("with_head", [False, True])
def test_muon_gets_the_blocks_matrices_and_those_of_head_and_predictor_if_asked(network, with_head):
    adamw_decayed, adamw_exempt, single, fused = named_groups(network, name="muon", muon_head=with_head)
    assert single[0] is Muon
    assert single[2] == block_names(*BLOCK[1:]) | (LINEAR if with_head else set())
    assert fused[2] == block_names(BLOCK[0])
    assert (single[1]["parts"], fused[1]["parts"]) == (1, 3)
    assert adamw_decayed[2] == {"backbone.vit.patch_embed.proj.weight"} | (set() if with_head else LINEAR)
    assert adamw_exempt[2] == named_groups(network)[1][2]


def test_a_rotary_vit_with_separate_queries_keys_and_values_has_each_as_a_matrix():
    network = Network("eva02_tiny_patch14_224", patch_size=16, num_heads=2, qkv_fused=False)
    _, _, single, fused = named_groups(network, name="muon")
    assert block_names("attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight", *BLOCK[1:2]) <= single[2]
    assert fused[2] == set()


def test_schedules_respect_the_settings_of_each_group():
    one, two, three = (nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
    optimizers, config = Optimizers(), OptimConfig()
    optimizers.add(torch.optim.AdamW, [Group(parameters=[one], decayed=False)], config, fused=True)
    groups = [Group(parameters=[two], decayed=True, rate_factor=3.0), Group(parameters=[three], decayed=True)]
    optimizers.add(Muon, groups, config)
    optimizers.set_schedule(0.1, 0.4)
    assert [group["lr"] for group in optimizers.param_groups] == pytest.approx([0.1, 0.3, 0.1])
    assert [group["weight_decay"] for group in optimizers.param_groups] == [0.0, 0.4, 0.4]


def test_an_optimizer_that_cannot_skip_a_step_is_refused():
    with pytest.raises(AssertionError, match="must be able to skip a step"):
        Optimizers().add(SGD, [Group(parameters=[nn.Parameter(torch.zeros(2))], decayed=True)], OptimConfig())


def set_gradients(network: nn.Module, seed: int, value: float | None = None) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        if value is not None:
            parameter.grad.flatten()[0] = value


def everything(network: nn.Module, optimizers: Optimizers) -> dict[str, object]:
    return copy.deepcopy({"network": network.state_dict(), "optimizer": optimizers.state_dict()})


def bits(state: object) -> object:
    """Floats as integers, so that -0 and 0 differ."""
    if isinstance(state, Tensor):
        return state.view(torch.int32) if state.dtype is torch.float32 else state
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    return [bits(value) for value in state] if isinstance(state, list) else state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("value", [None, torch.nan, torch.inf])
def test_a_skipped_step_leaves_everything_bit_for_bit_as_it_was(network, name, value):
    optimizers = make_optimizer(network, OptimConfig(name=name))
    optimizers.set_schedule(0.01, 0.1)
    with torch.no_grad():
        network.predictor.weight[0, 0] = -0.0
        network.backbone.vit.blocks[0].mlp.fc1.weight[0, 0] = -0.0
    set_gradients(network, 0)
    optimizers.step(skip=torch.tensor(False))
    before = everything(network, optimizers)
    set_gradients(network, 1, value)
    optimizers.step(skip=torch.tensor(True))
    assert same(bits(everything(network, optimizers)), bits(before))
    set_gradients(network, 2)
    optimizers.step(skip=torch.tensor(False))
    after = everything(network, optimizers)
    assert not any(same(after["network"][name], before["network"][name]) for name, _ in network.named_parameters())
    assert all(tensor.isfinite().all() for tensor in network.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_skipped_first_step_has_no_effect(name):
    ends = []
    for skips in (True, False):
        torch.manual_seed(0)
        network = Network(num_heads=2)
        optimizers = make_optimizer(network, OptimConfig(name=name))
        if skips:
            set_gradients(network, 0, torch.nan)
            optimizers.step(skip=torch.tensor(True))
        set_gradients(network, 1)
        optimizers.step(skip=torch.tensor(False))
        ends.append(everything(network, optimizers))
    assert same(*ends)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_state_gives_the_same_next_step(network, name):
    optimizers = make_optimizer(network, OptimConfig(name=name))
    set_gradients(network, 0)
    optimizers.step(skip=torch.tensor(False))
    kept = everything(network, optimizers)
    twin = copy.deepcopy(network)
    others = make_optimizer(twin, OptimConfig(name=name))
    others.load_state_dict(kept["optimizer"])
    for one, optimizer in ((network, optimizers), (twin, others)):
        set_gradients(one, 1)
        optimizer.step(skip=torch.tensor(False))
    assert same(everything(network, optimizers), everything(twin, others))


def test_the_state_of_adamw_is_torchs_and_several_optimizers_share_one_numbering(network):
    alone, both = (make_optimizer(network, OptimConfig(name=name)) for name in ("adamw", "muon"))
    set_gradients(network, 0)
    alone.step(skip=torch.tensor(False))
    assert same(alone.state_dict(), alone._members[0][0].state_dict())
    both.step(skip=torch.tensor(False))
    state, parameters = both.state_dict(), both.parameters()
    assert [number for group in state["param_groups"] for number in group["params"]] == list(range(len(parameters)))
    for number, entries in state["state"].items():
        assert all(tensor.shape in (parameters[number].shape, ()) for tensor in entries.values())


def test_a_state_of_another_optimizer_is_refused_with_both_sizes(network):
    alone, both = (make_optimizer(network, OptimConfig(name=name)) for name in ("adamw", "muon"))
    with pytest.raises(ValueError, match=r"must have the sizes \[\d+, \d+, 6, 2\], got \[\d+, \d+\]"):
        both.load_state_dict(alone.state_dict())


def test_an_unknown_name_is_refused_with_the_nearest_before_anything_is_read(tmp_path):
    config = settings(**{"optim.name": "adam", "data.source": str(tmp_path / "nothing")})
    with pytest.raises(UserError, match=r"unknown optimizer 'adam' in optim\.name: did you mean 'adamw'\?"):
        mrkd.pretrain(config, tmp_path / "run")


@pytest.mark.slow
def test_an_interrupted_run_with_muon_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    config = settings(**{"optim.name": "muon", "optim.muon_head": True, "train.epochs": 4})
    whole: Path = mrkd.pretrain(config, tmp_path / "whole")
    stopped(config, tmp_path / "run", 5)
    mrkd.pretrain(config, tmp_path / "run")
    assert_like(tmp_path / "run", whole)
    assert any("momentum_buffer" in entries for entries in weights(whole)["optimizer"]["state"].values())
