"""The networks of a run: student, EMA teacher and, where there is one, the frozen teacher."""

from collections.abc import Sequence

import torch

from mrkd.config import Config, Term
from mrkd.model.backbone import create_vit, patch_grid
from mrkd.model.frozen_teacher import FrozenTeacher
from mrkd.model.teacher_student import TeacherStudent
from mrkd.objective.checks import Widths, check_widths, needs_of
from mrkd.objective.tokens import Needs
from mrkd.runs.initial_weights import load_weights
from mrkd.runs.load_teacher import open_teacher


def make_pair(config: Config, terms: Sequence[Term]) -> tuple[TeacherStudent, str]:
    """The networks with the weights that they start from, and a note about these; empty without one.

    Raises:
        UserError: weights that are missing or do not fit, or a frozen teacher of which a term asks what it has not.
    """
    needs = needs_of(terms, centering=config.distillation.centering, frozen=config.teacher.source is not None)
    frozen = None
    if config.teacher.source is not None and terms:  # without terms nothing is learnt from it
        with torch.random.fork_rng(devices=[]):  # the student starts from the same weights with every teacher
            frozen = frozen_teacher(config, needs)
    pair = TeacherStudent(config, needs, frozen)
    vit = pair.network.backbone.vit
    if frozen is not None:
        student = Widths(cls=vit.embed_dim, patch=vit.embed_dim, heads=vit.blocks[0].attn.num_heads)
        teacher = Widths(cls=frozen.width, patch=frozen.patch_width, heads=frozen.heads)
        check_widths(terms, config, student, teacher)
    note = ""
    if config.model.weights is not None:
        note = load_weights(vit, config.model.weights)
        pair.reset_teacher()
    return pair, note


def frozen_teacher(config: Config, needs: Needs) -> FrozenTeacher:
    """The teacher of `teacher.source`, which gives what the terms need of it."""
    with torch.device("meta"):  # only its grid is asked for
        grid = patch_grid(create_vit(config.model, config.data.size), config.data.size)
    return FrozenTeacher(
        open_teacher(config.teacher),
        view_size=config.data.size,
        size=config.teacher.size,
        grid=grid,
        patches=needs.frozen_patches,
        attention=needs.attention,
        at_a_time=config.train.micro_batch,
    )
