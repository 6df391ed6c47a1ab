import pytest
import torch

from mrkd.config import Config, HeadConfig, ObjectiveConfig, Term
from mrkd.errors import UserError
from mrkd.losses.methods import METHODS, resolve_terms
from mrkd.losses.objective import Objective, head_need, relation_pairs
from mrkd.tokens import Step, ViewTokens

SMALL = Config(head=HeadConfig(prototypes=6))


def make_step(views: int = 2, images: int = 8, patches: int = 4, local: bool = False) -> Step:
    def tokens(count: int, masked: int) -> ViewTokens:
        return ViewTokens(
            cls_backbone=torch.randn(count, images, 5, requires_grad=True),
            patch_backbone=torch.randn(count, images, patches, 5, requires_grad=True),
            cls_bottleneck=torch.randn(count, images, 3),
            cls_logits=torch.randn(count, images, 6),
            patch_bottleneck=torch.randn(masked, 3),
            patch_logits=torch.randn(masked, 6),
        )

    mask = torch.zeros(views, images, patches, dtype=torch.bool)
    mask[..., 1] = True
    index = mask.flatten().nonzero().flatten()
    return Step(
        student=tokens(views, len(index)),
        teacher=tokens(views, len(index)),
        student_local=tokens(3, 0) if local else None,
        patch_mask=mask,
        patch_index=index,
    )


@pytest.mark.parametrize("method", [*[name for name in METHODS if name != "random"], "ibot+rkd-d", "ibot+rkd-a"])
def test_every_method_gives_a_finite_loss_with_a_value_per_term(method):
    terms = resolve_terms(ObjectiveConfig(method=method, koleo=0.1))
    assert any(term.loss == "koleo" for term in terms) == (method == "ibot")
    losses = Objective(SMALL, terms)(make_step(local=True), teacher_temperature=0.05, progress=0.5)
    assert losses.total.isfinite()
    assert len(losses.by_term) == len(terms)


def test_class_relations_pair_each_teacher_view_with_other_student_views_only():
    step = make_step(local=True)
    pairs = list(relation_pairs(step, Term(loss="rkd-distance")))
    assert len(pairs) == 2 * (1 + 3)
    assert torch.equal(pairs[0][0], step.student.cls_backbone[1])
    assert torch.equal(pairs[0][1], step.teacher.cls_backbone[0])


def test_patch_relations_compare_one_position_across_images_or_one_image_across_positions():
    step = make_step(images=8, patches=4)
    across = next(relation_pairs(step, Term(loss="rkd-distance", tokens="patch-position")))
    within = next(relation_pairs(step, Term(loss="rkd-distance", tokens="patch-image")))
    assert across[0].shape == (4, 8, 5)
    assert within[0].shape == (8, 4, 5)


def test_a_weight_ramps_in_linearly():
    step, term = make_step(), Term(loss="rkd-distance", weight=2.0, ramp=0.5)
    objective = Objective(SMALL, (term,))
    full = objective(step, teacher_temperature=0.05, progress=0.9).total.item()
    half = objective(step, teacher_temperature=0.05, progress=0.25).total.item()
    assert half == pytest.approx(full / 2, rel=1e-6)


def test_relations_are_weighed_only_where_a_cross_entropy_is_present():
    alone = resolve_terms(ObjectiveConfig(method="rkd-d", relation_weight=5.0))
    joined = resolve_terms(ObjectiveConfig(method="ibot+rkd-d", relation_weight=5.0))
    assert alone[0].weight == 1.0
    assert next(term.weight for term in joined if term.loss == "rkd-distance") == 5.0


def test_the_head_runs_only_where_a_term_needs_it():
    assert head_need(resolve_terms(ObjectiveConfig(method="rkd-d"))) == "none"
    assert head_need(resolve_terms(ObjectiveConfig(method="ibot"))) == "masked"
    assert head_need(resolve_terms(ObjectiveConfig(method="rkd-d", relation_space="logits"))) == "all"


@pytest.mark.parametrize("method", ["rkd-x", "ibot+ibot", "random+ibot", "", "ibot+"])
def test_unknown_and_impossible_methods_are_refused(method):
    with pytest.raises(UserError):
        resolve_terms(ObjectiveConfig(method=method))


def test_a_cross_entropy_off_the_logits_is_refused():
    with pytest.raises(UserError, match="defined on logits"):
        Objective(SMALL, (Term(loss="ibot-cls", space="backbone"),))
