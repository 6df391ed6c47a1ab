import dataclasses

import pytest
import torch

from mrkd.config import Config, DistillationConfig, HeadConfig, MaskConfig, ObjectiveConfig, Term
from mrkd.errors import UserError
from mrkd.losses.relations import structural
from mrkd.objective.checks import needs_of
from mrkd.objective.loss_table import LOSSES, relation
from mrkd.objective.methods import METHODS
from mrkd.objective.objective import Objective
from mrkd.objective.resolve import all_methods, resolve_terms
from mrkd.objective.selection import relation_batch
from mrkd.objective.tokens import StepOutputs, ViewTokens

SMALL = Config(head=HeadConfig(prototypes=6))


def make_step(views: int = 2, images: int = 8, patches: int = 4, local: bool = False) -> StepOutputs:
    def tokens(count: int, masked: int) -> ViewTokens:
        features = torch.randn(count * images, 1 + patches, 5, requires_grad=True)
        split = features.unflatten(0, (count, images))
        mixed = split.mean(dim=2)[..., :3]  # a stand-in for the head; a function of the features
        return ViewTokens(
            features=features,
            cls_backbone=split[:, :, 0],
            patch_backbone=split[:, :, 1:],
            cls_projection=mixed,
            cls_bottleneck=mixed,
            cls_logits=mixed.repeat(1, 1, 2),
            patch_projection=torch.randn(masked, 3),
            patch_bottleneck=torch.randn(masked, 3),
            patch_logits=torch.randn(masked, 6),
            blocks={0: torch.randn(count, images, 1 + patches, 5)},
            attention=torch.rand(count, images, 2, patches),
            prediction=2.0 * split,
            cls_prediction=2.0 * mixed,
        )

    mask = torch.zeros(views, images, patches, dtype=torch.bool)
    mask[..., 1] = True
    index = mask.flatten().nonzero().flatten()
    return StepOutputs(
        student=tokens(views, len(index)),
        teacher=tokens(views, len(index)),
        student_local=tokens(3, 0) if local else None,
        patch_mask=mask,
        patch_index=index,
        masked_index=index,
    )


ALL_METHODS = [name for name in METHODS if name != "random"]


@pytest.mark.parametrize("method", [*ALL_METHODS, *(f"ibot+{name}" for name in ALL_METHODS[5:])])
def test_every_method_gives_a_finite_loss_with_a_value_per_term(method):
    terms = resolve_terms(ObjectiveConfig(method=method, koleo=0.1))
    losses = Objective(SMALL, terms)(make_step(local=True), teacher_temperature=0.05, progress=0.5)
    assert losses.total.isfinite()
    assert len(losses.by_term) == len(terms)


def test_koleo_is_added_to_a_class_cross_entropy_only_without_a_relation():
    def guarded(method: str) -> bool:
        return any(term.loss == "koleo" for term in resolve_terms(ObjectiveConfig(method=method, koleo=0.1)))

    assert guarded("ibot")
    assert guarded("dinov2")  # by its own KoLeo, which replaces that of the setting
    assert guarded("dino")
    assert guarded("ibot+attention")
    assert not any(guarded(method) for method in ("mim", "simclr", "rkd-d", "ibot+rkd-d"))


def test_class_relations_pair_each_teacher_view_with_other_student_views_only():
    step = make_step(local=True)
    batch = relation_batch(step, Term(loss="rkd-distance"))
    assert batch.student.shape == (2 * (1 + 3), 8, 5)
    assert torch.equal(batch.student[0], step.student.cls_backbone[1])
    assert torch.equal(batch.teacher[0], step.teacher.cls_backbone[0])
    assert torch.equal(batch.student[1], step.student_local.cls_backbone[0])


def test_patch_relations_compare_one_position_across_images_or_one_image_across_positions():
    step = make_step(images=8, patches=4)
    across = relation_batch(step, Term(loss="spkd", tokens="patch-position", rows="masked"))
    within = relation_batch(step, Term(loss="spkd", tokens="patch-image", anchors="teacher"))
    assert across.student.shape == (2 * 4, 8, 5)
    assert torch.equal(across.student[4 + 3], step.student.patch_backbone[1, :, 3])
    assert across.row_weights.all(dim=1).tolist() == [False, True, False, False] * 2
    assert within.student.shape == (2 * 8, 4, 5)
    assert within.anchors is within.teacher


def test_a_block_of_the_backbone_can_be_compared_in_place_of_its_output():
    step = make_step()
    batch = relation_batch(step, Term(loss="spkd", block=0, tokens="patch-image"))
    assert torch.equal(batch.student[0], step.student.blocks[0][0, 0, 1:])


def test_a_weight_ramps_in_linearly():
    step, term = make_step(), Term(loss="rkd-distance", weight=2.0, ramp=0.5)
    objective = Objective(SMALL, (term,))
    full = objective(step, teacher_temperature=0.05, progress=0.9).total.item()
    half = objective(step, teacher_temperature=0.05, progress=0.25).total.item()
    assert half == pytest.approx(full / 2, rel=1e-6)


def test_a_grad_norm_ratio_sets_the_norm_of_a_terms_gradient_relative_to_the_others():
    step = make_step(local=True)
    plain, shared = Term(loss="koleo", weight=0.3), Term(loss="rkd-distance", grad_norm_ratio=0.5)
    features = [step.student.features, step.student_local.features]

    def gradient(*terms: Term) -> torch.Tensor:
        total = Objective(SMALL, terms)(step, teacher_temperature=0.05, progress=1.0).total
        parts = torch.autograd.grad(total, features, allow_unused=True)
        return torch.cat([(torch.zeros(1) if part is None else part).flatten() for part in parts])

    reference = torch.autograd.grad(
        Objective(SMALL, (plain,))(step, teacher_temperature=0.05, progress=1.0).total, features[0]
    )[0]
    added = gradient(plain, shared)
    added[: reference.numel()] -= reference.flatten()
    assert added.norm().item() == pytest.approx(0.5 * reference.norm().item(), rel=1e-4)


def test_factors_of_gradient_norm_ratios_are_restored_from_the_state():
    terms = (Term(loss="koleo"), Term(loss="rkd-distance", grad_norm_ratio=0.5))
    first, second = Objective(SMALL, terms), Objective(SMALL, terms)
    first(make_step(), teacher_temperature=0.05, progress=1.0)
    second.load_state_dict(first.state_dict())
    step = make_step()
    assert (
        first(step, teacher_temperature=0.05, progress=1.0).total
        == second(step, teacher_temperature=0.05, progress=1.0).total
    )


def test_the_relation_weight_applies_only_beside_another_kind_of_loss():
    alone = resolve_terms(ObjectiveConfig(method="rkd-d", relation_weight=5.0))
    joined = resolve_terms(ObjectiveConfig(method="ibot+rkd-d", relation_weight=5.0))
    shared = resolve_terms(
        ObjectiveConfig(method="ibot+rkd-d", relation_grad_norm_ratio=0.5, patch_relation_weight=0.2)
    )
    assert alone[0].weight == 1.0
    assert [term.weight for term in joined if term.loss == "rkd-distance"] == [5.0, 5.0]
    assert [term.grad_norm_ratio for term in shared] == [None, None, 0.5, pytest.approx(0.1)]


def test_relation_options_override_those_of_relations_that_have_them():
    objective = ObjectiveConfig(method="gram+rkd-d", relation_options={"standardize": True, "length": 3})
    options = {term.loss: term.options for term in resolve_terms(objective) if term.tokens == "cls"}
    assert options["gram"] == {"center": True, "standardize": True}
    assert "length" not in options["rkd-distance"]


@pytest.mark.parametrize(("centering", "rows"), [("ema", "masked"), ("ibot", "all")])
def test_the_patch_centre_moves_towards_the_masked_patches_or_as_in_ibot_all_of_them(centering, rows):
    config = dataclasses.replace(SMALL, distillation=DistillationConfig(centering=centering, center_momentum=0.9))
    step = make_step()
    logits = torch.randn(step.patch_mask.numel(), 6)
    tokens = dataclasses.replace(step.teacher, patch_logits=logits)
    student = dataclasses.replace(step.student, patch_logits=torch.randn_like(logits))
    step = dataclasses.replace(step, teacher=tokens, student=student, patch_index=torch.arange(len(logits)))
    objective = Objective(config, (Term(loss="ibot-patch", tokens="patch-position", space="logits"),))
    objective.patch_center.center = torch.zeros(6)
    objective(step, teacher_temperature=0.05, progress=1.0)
    averaged = logits if rows == "all" else logits[step.masked_index]
    assert torch.allclose(objective.patch_center.center, 0.1 * averaged.mean(dim=0), atol=1e-6)


def test_the_networks_compute_only_what_a_term_needs():
    def needs(method: str, **settings: object):
        return needs_of(resolve_terms(ObjectiveConfig(method=method, **settings)))

    assert needs("rkd-d").head == "none"
    assert needs("dino").head == "cls"
    assert needs("ibot").head == "masked"
    assert needs("rkd-d", relation_space="logits").head == "all"
    assert needs_of(resolve_terms(ObjectiveConfig(method="ibot")), centering="ema").head == "masked"
    assert needs_of(resolve_terms(ObjectiveConfig(method="ibot")), centering="ibot").head == "all"
    assert needs("attention").attention
    assert needs("fitnet").predictor
    assert not needs("fitnet").head_predictor
    assert needs("byol").head_predictor
    assert needs("fitnet").patches
    assert needs("rkd-d").patches
    assert needs("rkd-d", relation_space="logits").patches  # the head runs on all of them
    assert not needs("ibot").patches
    assert not needs("rkd-d", patch_relation_weight=0).patches
    assert not needs_of([Term(loss="hint")]).patches
    assert not needs_of([Term(loss="spkd", tokens="patch-image", block=0)]).patches
    assert needs_of([Term(loss="spkd", block=3), Term(loss="spkd", block=1)]).blocks == (1, 3)


@pytest.mark.parametrize("method", ["rkd-x", "ibot+ibot", "random+ibot", "", "ibot+"])
def test_unknown_and_impossible_methods_are_refused(method):
    with pytest.raises(UserError):
        resolve_terms(ObjectiveConfig(method=method))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"loss": "ibot-cls"}, "defined on space logits"),
        ({"loss": "rkd-distnce"}, "did you mean 'rkd-distance'"),
        ({"loss": "dark-rank", "options": {"lenght": 3}}, "did you mean 'length'"),
        ({"loss": "koleo", "options": {"alpha": 3}}, "it has none"),
        ({"loss": "relation", "options": {"potential": "cosine"}}, "needs the options potential and divergence"),
        ({"loss": "relation", "options": {"potential": "dot", "divergence": "listwise"}}, "orders distances"),
        ({"loss": "spkd", "rows": "masked"}, "needs a relation between patches"),
        ({"loss": "koleo", "anchors": "teacher"}, "cannot be used with anchors"),
        ({"loss": "spkd", "anchors": "queue", "tokens": "patch-image"}, "needs tokens cls"),
        ({"loss": "spkd", "block": 1, "space": "logits"}, "leave out block or space"),
        ({"loss": "koleo", "tokens": "patch-image"}, "defined on tokens cls"),
        ({"loss": "simclr", "tokens": "patch-position", "space": "bottleneck"}, "defined on tokens cls"),
        ({"loss": "hint", "space": "logits"}, "defined on space backbone, got 'logits'"),
        ({"loss": "attention", "grad_norm_ratio": 0.5}, "measured at the backbone's output"),
        ({"loss": "rkd-distance", "grad_norm_ratio": 0.5}, "relative to the terms with a weight"),
    ],
)
def test_a_term_that_contradicts_itself_is_refused_with_the_reason(term, message):
    with pytest.raises(UserError, match=message):
        Objective(SMALL, (Term(**term),))


@pytest.mark.parametrize("method", ["rkd-d", "gram", "attention", "mim", "fitnet"])
@pytest.mark.parametrize("mask", [{"probability": 0.0}, {"ratio": (0.0, 0.0)}])
def test_a_term_that_is_zero_by_construction_is_refused_with_the_reason(method, mask):
    config = dataclasses.replace(SMALL, mask=MaskConfig(**mask))
    with pytest.raises(UserError, match="nothing is learnt"):
        Objective(config, resolve_terms(ObjectiveConfig(method=method)))


def test_a_relation_becomes_a_method_by_its_one_line_in_the_table(monkeypatch):
    def nearest_neighbour(student, teacher, *, power: float = 1.0):
        """Match the distance to the nearest other row.

        Source:
            This test.
        """
        ours, theirs = (torch.cdist(rows, rows) + 1e3 * torch.eye(rows.shape[-2]) for rows in (student, teacher))
        return (ours.amin(-1) - theirs.amin(-1)).abs().pow(power).mean()

    monkeypatch.setitem(LOSSES, "nearest-neighbour", relation(nearest_neighbour))
    method = all_methods()["nearest-neighbour"]
    assert method.summary == "Match the distance to the nearest other row"
    assert method.source == "This test."
    terms = resolve_terms(ObjectiveConfig(method="ibot+nearest-neighbour", relation_options={"power": 2.0}))
    losses = Objective(SMALL, terms)(make_step(), teacher_temperature=0.05, progress=1.0)
    assert losses.by_term["nearest-neighbour/patch-position"] > 0


def test_every_loss_of_the_table_is_used_by_a_method_or_listed_here_as_usable_by_name():
    used = {term.loss for method in METHODS.values() for term in method.terms}
    assert set(LOSSES) - used == {"variance", "relation"}
    assert LOSSES["relation"].options() == ["potential", "divergence", "center", "keep_self"]


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("mps", torch.float32)])
def test_factors_are_float64_where_the_device_has_it(monkeypatch, device, dtype):
    objective = Objective(SMALL, (Term(loss="koleo"), Term(loss="rkd-distance", grad_norm_ratio=0.5)))
    monkeypatch.setattr(objective, "to", lambda device: objective)
    objective.place_on(torch.device(device))
    assert objective.grad_norm_factors.dtype == dtype


def with_queue(method: str, images: int) -> Objective:
    settings = ObjectiveConfig(method=method, relation_anchors="queue", queue_images=images)
    objective = Objective(dataclasses.replace(SMALL, objective=settings), resolve_terms(settings))
    objective.make_queues(5)
    return objective


def test_a_queue_adds_the_teachers_embeddings_of_earlier_steps_to_the_anchors():
    objective = with_queue("structural", 8)
    first, second = make_step(), make_step()
    objective(first, teacher_temperature=0.05, progress=0.0)
    [queue] = objective.queues.values()
    assert torch.equal(queue.embeddings, first.teacher.cls_backbone[0])
    batch = relation_batch(second, objective.terms[0], queue)
    assert batch.anchors.shape == (2, 8 + 8, 5)
    assert torch.equal(batch.anchors[0, :8], second.teacher.cls_backbone[0])
    assert torch.equal(batch.anchors[1, 8:], first.teacher.cls_backbone[0])
    value = objective(second, teacher_temperature=0.05, progress=0.0).by_term["structural/cls"]
    assert value.item() == pytest.approx(structural(batch.student, batch.teacher, anchors=batch.anchors).item())


def test_patches_keep_their_own_anchors_beside_a_queue():
    on_images, on_patches = with_queue("structural", 8).terms
    assert (on_images.anchors, on_patches.anchors) == ("queue", "teacher")
    own, _ = resolve_terms(ObjectiveConfig(method="structural", relation_anchors="own"))
    assert own.anchors == "own"


def test_queues_come_back_with_the_state_of_an_objective():
    objective, restored = with_queue("spkd", 6), with_queue("spkd", 6)
    objective(make_step(), teacher_temperature=0.05, progress=0.0)
    restored.load_state_dict(objective.state_dict())
    assert torch.equal(objective.queues["0"].embeddings, restored.queues["0"].embeddings)
    with pytest.raises(RuntimeError, match="size mismatch"):
        with_queue("spkd", 7).load_state_dict(objective.state_dict())
