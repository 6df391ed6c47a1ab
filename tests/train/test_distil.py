"""Trainings that learn from a frozen teacher."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import mrkd
from mrkd.cli import main
from mrkd.config import Config, Term
from mrkd.config.overrides import with_overrides
from mrkd.errors import UserError
from mrkd.model.teacher_student import Network
from mrkd.objective.loss_table import LOSSES
from mrkd.objective.methods import METHODS
from mrkd.objective.resolve import resolve_terms
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import find_checkpoint
from mrkd.train.networks import make_pair
from tests.conftest import make_tiny_config
from tests.helpers.fast_settings import FAST

LEARNING = [
    name
    for name, method in METHODS.items()
    if name != "random" and all(LOSSES[term.loss].target == "any" for term in method.terms)
]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    """Weights of a network that is no ViT."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "x.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), path)
    return path


def config(source: Path, method: str = "rkd-d", **settings) -> Config:
    dotted = {"teacher.source": str(source), "objective.method": method}
    return with_overrides(make_tiny_config(), {**dotted, **{key.replace("__", "."): v for key, v in settings.items()}})


def a_step(config: Config, pair=None):
    """One step's outputs and loss."""
    from mrkd.objective.objective import Objective

    terms = resolve_terms(config.objective)
    pair = pair or make_pair(config, terms)[0]
    torch.manual_seed(1)
    mask = torch.rand(2, 6, 16) < 0.4
    outputs = pair(torch.randn(2, 6, 3, 32, 32), None, mask)
    return outputs, Objective(config, terms)(outputs, teacher_temperature=0.05, progress=0.5)


@pytest.mark.parametrize("method", LEARNING)
def test_every_relation_and_every_feature_loss_learns_from_a_run_without_the_ema_teacher(method, trained_run):
    outputs, losses = a_step(config(trained_run, method))
    assert outputs.teacher is None
    assert outputs.target is outputs.frozen
    losses.total.backward()
    assert losses.total.isfinite()
    assert losses.total > 0


@pytest.mark.parametrize("views", ["same", "other"])
@pytest.mark.parametrize("method", ["ibot+rkd-da", "simclr+structural", "ibot+fitnet"])
def test_self_supervised_terms_keep_their_ema_teacher_beside_the_frozen_one(method, views, trained_run):
    given = config(trained_run, method, teacher__views=views)
    outputs, losses = a_step(given)
    assert (outputs.teacher is None) == method.startswith("simclr")
    # Nothing but the terms that learn from the frozen teacher is another than without it.
    without = a_step(with_overrides(given, {"teacher.source": None, "teacher.views": "same"}))[1]
    for name, value in losses.by_term.items():
        if name.startswith(("rkd", "structural", "hint")):
            assert not torch.equal(value, without.by_term[name])
        else:
            assert torch.equal(value, without.by_term[name])


def test_the_same_view_pairs_each_view_with_itself_and_other_with_each_other_one(trained_run):
    from mrkd.objective.selection import relation_batch

    for views, order in (("same", [0, 1]), ("other", [0, 1])):
        outputs, _ = a_step(config(trained_run, "rkd-d", teacher__views=views))
        batch = relation_batch(outputs, Term(loss="rkd-distance"))
        student = order if views == "same" else order[::-1]
        assert torch.equal(batch.student, outputs.student.cls_backbone[student].float())
        assert torch.equal(batch.teacher, outputs.frozen.cls_backbone[order].float())


def test_a_student_equal_to_its_teacher_has_no_loss_on_the_same_unmasked_view(trained_run):
    given = config(trained_run, "rkd-da", model__weights=str(trained_run), mask__probability=0.0)
    pair = make_pair(given, resolve_terms(given.objective))[0]
    outputs = pair(torch.randn(2, 6, 3, 32, 32), None, torch.zeros(2, 6, 16, dtype=torch.bool))
    assert torch.allclose(outputs.student.cls_backbone, outputs.frozen.cls_backbone, atol=1e-5)
    assert torch.allclose(outputs.student.patch_backbone, outputs.frozen.patch_backbone, atol=1e-5)


def test_another_kind_and_width_of_teacher_is_learnt_from_on_the_students_grid(resnet):
    given = config(resnet, "rkd-d", teacher__model="test_resnet", teacher__size=96)
    outputs, losses = a_step(given)
    assert outputs.frozen.patch_backbone.shape[:3] == (2, 6, 16)
    assert outputs.frozen.cls_backbone.shape[-1] != outputs.student.cls_backbone.shape[-1]
    assert losses.total.isfinite()
    a_step(with_overrides(given, {"objective.method": "fitnet"}))
    width = outputs.frozen.cls_backbone.shape[-1]
    projected = {"objective.method": "structural", "objective.relation_space": "projection", "head.bottleneck": width}
    a_step(with_overrides(given, projected))


@pytest.mark.parametrize(
    ("method", "settings", "match"),
    [
        (
            "structural",
            {},
            r"compares the student's 16 channels with the teacher's \d+: set objective.relation_space pro",
        ),
        ("attention", {}, "attention is that of a ViT's class token, which the teacher test_resnet has not"),
        ("ibot", {}, r"ibot takes nothing from a frozen teacher: add a relation .* ibot\+rkd-d"),
        ("rkd-d", {"teacher.size": 32}, "has 1 patch at 32 pixels, no grid"),
        ("rkd-d", {"views.local_views": 2, "views.local_size": 16}, "no term uses the local crops"),
    ],
)
def test_what_a_teacher_cannot_give_is_refused_by_name(method, settings, match, resnet, tmp_path):
    given = config(resnet, method, teacher__model="test_resnet", teacher__size=96)
    with pytest.raises(UserError, match=match) as refusal:
        mrkd.pretrain(with_overrides(given, settings), tmp_path / "run")
    assert "\n" not in str(refusal.value)


def test_attention_of_another_number_of_heads_is_refused(trained_run):
    given = config(trained_run, "attention", model__heads=4)
    with pytest.raises(UserError, match="the student has 4, the teacher 2"):
        make_pair(given, resolve_terms(given.objective))


def test_a_resumed_run_ends_in_the_same_weights_and_refuses_another_teacher(trained_run, tmp_path, monkeypatch):
    teacher = tmp_path / "teacher"
    shutil.copytree(trained_run, teacher)
    given = config(teacher, "ibot+rkd-d", train__checkpoint_steps=2, train__keep_checkpoints=9)
    whole, again = mrkd.pretrain(given, tmp_path / "whole"), tmp_path / "again"
    shutil.copytree(whole, again)
    for name in ("summary.json", "backbone.safetensors"):
        (again / name).unlink()
    for checkpoint in (again / "checkpoints").iterdir():
        if checkpoint != find_checkpoint(RunDirectory(again), "2").path:
            checkpoint.unlink()
    before = (again / "config.yaml").read_text()
    state = timm_state(teacher)
    changed = {name: tensor + 1e-4 for name, tensor in state.items()}
    save_file(changed, teacher / "backbone.safetensors")
    with pytest.raises(
        UserError, match=r"learns from a frozen teacher with weights \w{12}, and .* holds \w{12}: restore"
    ):
        mrkd.pretrain(given, again)
    assert (again / "config.yaml").read_text() == before
    save_file(state, teacher / "backbone.safetensors")
    mrkd.pretrain(given, again)
    assert (again / "backbone.safetensors").read_bytes() == (whole / "backbone.safetensors").read_bytes()


def timm_state(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "backbone.safetensors")


def test_where_no_term_needs_the_ema_teacher_it_does_not_run_and_the_student_is_kept(
    trained_run, tmp_path, monkeypatch
):
    true_forward, ran = Network.forward, []
    monkeypatch.setattr(
        Network, "forward", lambda self, *given: (ran.append(self.training), true_forward(self, *given))[1]
    )
    given = config(trained_run, "rkd-d", train__relation_images=0)
    run = mrkd.pretrain(dataclasses.replace(given), tmp_path / "run", profile=True)
    steps = json.loads((run / "summary.json").read_text())["steps"]
    assert len(ran) == steps  # the student's
    state = find_checkpoint(RunDirectory(run), "last").read()
    assert all(torch.equal(tensor, state["student"][name]) for name, tensor in state["teacher"].items())
    assert torch.equal(timm_state(run)["norm.weight"], state["student"]["backbone.vit.norm.weight"])
    assert "frozen teacher" in json.loads((run / "profile.json").read_text())["milliseconds"]


def test_a_method_without_terms_leaves_the_teacher_alone(trained_run, tmp_path):
    mrkd.pretrain(config(trained_run, "random"), tmp_path / "run")


def bad_teachers(folder: Path) -> dict[str, tuple[list[str], str]]:
    """What somebody might type, and what is said."""
    model = timm.create_model("test_vit", num_classes=3)
    save_file({"head.weight": model.head.weight, "head.bias": model.head.bias}, folder / "head.safetensors")
    torch.nn.init.zeros_(model.norm.weight)
    torch.nn.init.ones_(model.norm.bias)
    save_file(model.state_dict(), folder / "constant.safetensors")
    named = ["--teacher.model", "test_vit"]
    return {
        "missing": (["--teacher", f"{folder}/no.pth"], "there is no file or folder"),
        "classifier": (["--teacher", f"{folder}/head.safetensors", *named], "but its classifier's, head."),
        "size": (["--teacher", f"{folder}/constant.safetensors", *named, "--teacher.size", "40"], "such as 32"),
        "unknown": (["--teacher", "vit_smal_patch16_224"], "unknown timm model 'vit_smal_patch16_224': did you mean"),
        "constant": (["--teacher", f"{folder}/constant.safetensors", *named], "the same features for every image"),
        "alone": (["--teacher.model", "test_vit"], "teacher.model is about a teacher: give teacher.source, too"),
    }


@pytest.mark.parametrize("fault", ["missing", "classifier", "size", "unknown", "constant", "alone"])
def test_a_bad_teacher_is_one_line_and_status_2(fault, tmp_path, capsys):
    typed, said = bad_teachers(tmp_path)[fault]
    assert main(["pretrain", *FAST, "--method", "rkd-d", *typed, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert "Traceback" not in "".join(error)
