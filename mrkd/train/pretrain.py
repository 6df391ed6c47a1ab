"""Train one method on one data set, from the config to the finished run directory."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from torch.distributed import DistError

from mrkd.config import Config
from mrkd.data.load import load_train
from mrkd.data.sources.find import check_outside
from mrkd.distributed.fabric import make_fabric
from mrkd.distributed.gather import destroy_process_group_together, world_size
from mrkd.errors import Interrupted, UserError
from mrkd.evaluation.evaluators import wanted
from mrkd.objective.resolve import resolve_terms
from mrkd.optim.optimizers import check_optimizer
from mrkd.runs.run import RunDirectory
from mrkd.system.output import say
from mrkd.system.signals import StopRequest
from mrkd.train.autotune import recall, resolve, run_length, without_replaced_weights
from mrkd.train.loggers import MetricsLoggers, check_logger
from mrkd.train.loop import Training
from mrkd.train.same_images import check_images_of_run, follow_moved_images
from mrkd.train.step import Learner


def pretrain(config: Config, out: str | os.PathLike[str], *, profile: bool = False) -> Path:
    """Train one method on one data set and write everything into the run directory `out`.

    An unfinished run of the same config goes on after its last checkpoint; a finished one is left as it is.

    Args:
        config: decides everything.
        out: the directory.
        profile: print where the time of the steps went, and write it to `profile.json`; this slows them a little.
    Returns:
        The directory.
    Raises:
        UserError: bad settings, data or directory; a loss that is not finite.
        Interrupted: SIGTERM or SIGINT came; a checkpoint has been written.
    """
    started = time.monotonic()
    config = recall(config, out)
    RunDirectory(out).check(config)
    if not RunDirectory(out).started:
        check_outside(out, config.data.source)
    terms = resolve_terms(config.objective)
    check_optimizer(config.optim.name)
    wanted(config.evaluation.more)
    if RunDirectory(out).finished:
        follow_moved_images(config, out)
        say(f"{out} is finished: nothing is left to train")
        return Path(out)
    check_logger(config.train.logger)
    fabric = make_fabric(config)
    dataset = load_train(config.data, fabric.device, config.train.devices, announce=fabric.is_global_zero)
    check_images_of_run(config, dataset, out)
    config = resolve(config, terms, dataset, fabric, started)
    length = run_length(config, len(dataset)) if terms else 0
    learner = Learner(without_replaced_weights(config, out), terms, fabric, length)
    # One process writes; the others compute the same numbers and keep quiet.
    writes = fabric.is_global_zero
    if writes and learner.weights_note:
        say(learner.weights_note)
    run = RunDirectory.start(out, config) if writes else RunDirectory(out)
    try:
        if writes:
            run.report_to(MetricsLoggers(config, run.path))
        with StopRequest() as request, contextlib.ExitStack() as silence, _naming_a_lost_process():
            if not writes:
                silence.enter_context(contextlib.redirect_stdout(silence.enter_context(Path(os.devnull).open("w"))))
            training = Training(run, config, learner, dataset, request, profile=profile)
            training.begin()
            try:
                training.train()
                training.finish()
            except Interrupted:  # all processes leave after the same step
                destroy_process_group_together()
                raise
            destroy_process_group_together()
            if request.received:
                raise Interrupted.by(request.received, f"{run.path} has just finished training")
    except Exception as error:
        if writes:
            run.note_failure(error)
        raise
    finally:
        run.close()
    return run.path


@contextlib.contextmanager
def _naming_a_lost_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and (isinstance(error, DistError) or "gloo" in str(error)):
            raise UserError("another process of this training has ended, and this one with it") from None
        raise
