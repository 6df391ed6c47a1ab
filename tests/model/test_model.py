import pytest
import timm
import torch

from mrkd.config import Config, HeadConfig, ModelConfig
from mrkd.errors import UserError
from mrkd.model.backbone import MaskedBackbone, create_vit, timm_arguments
from mrkd.model.teacher_student import TeacherStudent
from mrkd.objective.tokens import Needs

SMALL = ModelConfig(patch=8, width=16, depth=2, heads=2)


def test_the_posters_network_has_sixteen_patches():
    vit = create_vit(ModelConfig(name="vit_small_patch8"), 32)
    assert vit.embed_dim == 384
    assert vit.patch_embed.grid_size == (4, 4)


@pytest.mark.parametrize(
    ("name", "width", "grid"),
    [("vit_tiny_patch8", 192, 4), ("vit_tiny_patch4", 192, 8), ("vit_small_patch4", 384, 8)],
)
def test_sizes_that_timm_has_with_patches_of_16_only_take_the_patch_of_their_name(name, width, grid):
    vit = create_vit(ModelConfig(name=name), 32)
    assert (vit.embed_dim, vit.patch_embed.grid_size) == (width, (grid, grid))
    timm_name, arguments = timm_arguments(ModelConfig(name=name), 32)
    timm.create_model(timm_name, **arguments).load_state_dict(vit.state_dict())


def test_unmasked_tokens_are_those_of_plain_timm():
    vit = create_vit(SMALL, 32).eval()
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(MaskedBackbone(vit)(images).features, vit.forward_features(images), atol=1e-6)


def test_a_masked_patch_hides_its_pixels_and_nothing_else():
    backbone = MaskedBackbone(create_vit(SMALL, 32)).eval()
    images = torch.randn(1, 3, 32, 32)
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 0] = True
    changed = images.clone()
    changed[..., :8, :8] = 5.0
    assert torch.allclose(backbone(images, mask).features, backbone(changed, mask).features)
    changed[..., 8:16, 8:16] = 5.0
    assert not torch.allclose(backbone(images, mask).features, backbone(changed, mask).features)


def test_the_head_runs_on_class_tokens_and_masked_patches_only():
    pair = TeacherStudent(Config(model=SMALL), Needs(head="masked"))
    mask = torch.zeros(2, 4, 16, dtype=torch.bool)
    mask[:, :, 3] = True
    step = pair(torch.randn(2, 4, 3, 32, 32), torch.randn(2, 4, 3, 16, 16), mask)
    assert step.student.patch_logits.shape == (8, 1024)
    assert step.student_local.cls_logits.shape == (2, 4, 1024)
    assert not step.teacher.cls_logits.requires_grad
    assert step.student.cls_logits.requires_grad


def test_blocks_attention_and_predictions_are_kept_where_a_term_needs_them():
    pair = TeacherStudent(Config(model=SMALL), Needs(patches=True, blocks=(0, 1), attention=True, predictor=True))
    step = pair(torch.randn(2, 4, 3, 32, 32), None, torch.zeros(2, 4, 16, dtype=torch.bool))
    vit = pair.network.backbone.vit
    assert torch.allclose(vit.norm(step.student.blocks[1])[:, :, 0], step.student.cls_backbone)
    assert step.student.blocks[0].shape == (2, 4, 17, 16)
    assert step.student.attention.shape == (2, 4, 2, 16)
    assert torch.allclose(step.student.attention.sum(dim=-1), torch.ones(2, 4, 2))
    assert torch.equal(step.student.attention, step.teacher.attention)  # no mask, equal weights
    assert step.student.prediction.shape == (2, 4, 17, 16)
    assert step.teacher.prediction is None
    assert step.student.cls_prediction is None
    lean = TeacherStudent(Config(model=SMALL), Needs(predictor=True))
    step = lean(torch.randn(2, 4, 3, 32, 32), torch.randn(1, 4, 3, 16, 16), torch.zeros(2, 4, 16, dtype=torch.bool))
    assert step.student.prediction.shape == (2, 4, 1, 16)
    assert step.student_local.prediction is None


def test_a_block_that_the_network_does_not_have_is_refused():
    with pytest.raises(UserError, match="asks for block 2; the network has blocks 0 to 1"):
        TeacherStudent(Config(model=SMALL), Needs(blocks=(2,)))


def test_attention_of_sharded_networks_is_refused():
    with pytest.raises(UserError, match="terms on attention do not work with sharded networks"):
        TeacherStudent(Config(model=SMALL), Needs(attention=True)).shard("cpu")


def test_the_teacher_moves_towards_the_student_by_one_minus_the_momentum():
    pair = TeacherStudent(Config(model=SMALL), Needs())
    name = "backbone.vit.cls_token"
    before = pair.teacher.state_dict()[name].clone()
    with torch.no_grad():
        pair.network.get_parameter(name).add_(1.0)
    pair.update_teacher(0.9)
    assert torch.allclose(pair.teacher.state_dict()[name], before + 0.1)


def test_compiled_blocks_compute_the_same_under_the_same_names():
    pair = TeacherStudent(Config(model=SMALL), Needs(head="masked"))
    views, mask = torch.randn(2, 3, 3, 32, 32), torch.rand(2, 3, 16) < 0.3
    plain = pair(views, None, mask)
    names = list(pair.network.state_dict())
    compiled = []

    def backend(graph, example_inputs):
        compiled.append(graph)
        return graph.forward

    pair.compile_blocks(backend)
    result = pair(views, None, mask)
    assert compiled, "nothing was compiled"
    assert list(pair.network.state_dict()) == names
    assert torch.allclose(result.student.features, plain.student.features, atol=1e-5)
    assert torch.allclose(result.teacher.features, plain.teacher.features, atol=1e-5)


def test_blocks_with_rates_of_their_own_are_compiled_once_and_not_one_by_one():
    deep = ModelConfig(patch=8, width=16, depth=12, heads=2, drop_path=0.1)
    pair = TeacherStudent(Config(model=deep), Needs(head="none"))
    compiled = []

    def backend(graph, example_inputs):
        compiled.append(graph)
        return graph.forward

    pair.compile_blocks(backend)
    pair(torch.randn(2, 3, 3, 32, 32), None, torch.rand(2, 3, 16) < 0.3)
    # Attention and MLP of the student, the teacher's block, the first one with rate 0, and the halves of the last ones.
    assert 1 <= len(compiled) <= 8


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (ModelConfig(name="vit_smal_patch8"), 32, "unknown timm ViT"),
        (ModelConfig(name="vit_tiny_patch0"), 32, "unknown timm ViT"),
        (SMALL, 30, "multiple of the patch size 8"),
    ],
)
def test_impossible_models_are_refused(model, size, message):
    with pytest.raises(UserError, match=message):
        create_vit(model, size)


def test_an_exported_backbone_is_loaded_by_plain_timm(tiny_config, tmp_path):
    import mrkd
    from mrkd.runs.run import RunDirectory
    from mrkd.runs.weights import load_backbone

    mrkd.pretrain(tiny_config, tmp_path / "run")
    mrkd.export(tmp_path / "run", tmp_path / "backbone.safetensors")
    plain = timm.create_model(
        "vit_tiny_patch16_224",
        patch_size=8,
        img_size=32,
        embed_dim=16,
        depth=2,
        num_heads=2,
        num_classes=0,
        checkpoint_path=str(tmp_path / "backbone.safetensors"),
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    ours = load_backbone(RunDirectory.open(tmp_path / "run"))
    assert torch.allclose(plain(images), ours(images), atol=1e-5)


def test_the_heads_predictor_runs_for_the_students_global_views_only():
    config = Config(model=SMALL, head=HeadConfig(prototypes=8, hidden=12, bottleneck=6))
    pair = TeacherStudent(config, Needs(head="cls", head_predictor=True))
    step = pair(torch.randn(2, 4, 3, 32, 32), torch.randn(1, 4, 3, 16, 16), torch.zeros(2, 4, 16, dtype=torch.bool))
    assert step.student.cls_prediction.shape == (2, 4, 6)
    assert step.teacher.cls_prediction is None
    assert step.student_local.cls_prediction is None
