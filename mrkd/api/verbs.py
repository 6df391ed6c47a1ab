"""`mrkd.pretrain` and `mrkd.compare`: settings by keyword, and an object in return."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mrkd.api.comparison import Comparison
from mrkd.api.run import Run
from mrkd.cli.options import changed_config, load_config
from mrkd.config import Config
from mrkd.errors import UserError

if TYPE_CHECKING:
    from mrkd.data.sources.memory import Images


def pretrain(
    config: Config | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    data: Images | None = None,
    recipe: str | None = None,
    file: str | os.PathLike[str] | None = None,
    profile: bool = False,
    **settings: Any,
) -> Run:
    """Train one method on one data set, without labels, and write everything into the run directory `out`.

    An unfinished run of the same settings goes on after its last checkpoint; a finished one is left as it is.

    Args:
        config: all settings, from `load_config`; or None, and they are built from what follows.
        out: the directory.
        data: any source that `--data` takes; or images in memory: an array (n, H, W, 3), a tensor (n, 3, H, W), a list
            of images, or a torch data set whose items are images or (image, label). They are resized to `size` once;
            for a run to go on later, give the same images again.
        recipe: a packaged recipe, whose values replace the defaults.
        file: a YAML file of settings.
        profile: print where the time of the steps went, and write it to `profile.json`; this slows them a little.
        settings: any setting. The short options of the command line have the same names here (`method`, `size`,
            `epochs`, `batch_size`, `seed`, ...); all others are written with two underscores for the dot, such as
            `train__log_steps=10`.
    Raises:
        UserError: bad settings, data or directory; a loss that is not finite.
        Interrupted: SIGTERM or SIGINT came; a checkpoint has been written.
    """
    from mrkd.data.sources.memory import name_source
    from mrkd.train.pretrain import pretrain as train

    if out is None:
        raise UserError('pretrain needs a directory for the run: out="runs/a"')
    config, held = _settings(config, recipe, file, settings), None
    if data is not None:
        source, held = name_source(data, config.data)
        config = changed_config(config, data=source)
    run = Run(train(config, out, profile=profile))
    run._held = held  # as long as the run is in use, its images can be read
    return run


def compare(
    config: Config | None = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    out: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    recipe: str | None = None,
    file: str | os.PathLike[str] | None = None,
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int = 1,
    references: bool = True,
    command: str = "",
    **settings: Any,
) -> Comparison:
    """Train, evaluate and draw every method with every seed under one config; write the table and the report.

    Runs that are already finished under the same config are kept, and an unfinished one goes on after its last
    checkpoint, so an interrupted comparison takes up where it was.

    Args:
        config: everything but method and seed, from `load_config`; or None, and it is built from what follows.
        methods: names as `mrkd methods` lists them; those that take nothing from a frozen teacher train without it.
        seeds: one run of each method per seed.
        out: a directory; gets `runs/`, `pixels.json`, `table.json`, `table.md` and `report.html`.
        data: any source that `--data` takes. Each run is trained in its own process, which has no images of this one.
        recipe: a packaged recipe, whose values replace the defaults.
        file: a YAML file of settings.
        tuned: dotted settings of single methods, laid over the config; the table lists them. None that changes the
            images, the batch or the length.
        jobs: runs at a time, each with its share of the CPU's threads.
        references: have the rows by which the others are judged: raw pixels, and `random` where it is not named.
        command: shown in the report as the way to get there again.
        settings: as for `pretrain`.
    Raises:
        UserError: bad settings, an unknown method, another comparison in `out`, or no run that succeeded.
        Interrupted: SIGTERM or SIGINT came, and the runs in progress have written their checkpoints.
    """
    from mrkd.studies.compare import compare as compare_methods

    if out is None:
        raise UserError('compare needs a directory for its runs: out="runs/table"')
    if isinstance(methods, str):
        raise UserError(f"methods must be a list of names, got the text {methods!r}: write methods=[{methods!r}]")
    for name, plural in (("method", "methods"), ("seed", "seeds")):
        if name in settings:
            raise UserError(f"compare takes {plural}=[...], got {name}={settings[name]!r}")
    if data is not None:
        if not isinstance(data, str | os.PathLike):
            raise UserError(
                "compare trains in processes of their own, which have no images of this one: write them to files, and "
                f"give the path of their folder, got {type(data).__name__}"
            )
        settings = {**settings, "data": data}
    compare_methods(
        _settings(config, recipe, file, settings),
        methods,
        seeds,
        out,
        tuned=tuned,
        jobs=jobs,
        references=references,
        command=command,
    )
    return Comparison(out)


def _settings(
    config: Config | None, recipe: str | None, file: str | os.PathLike[str] | None, settings: Mapping[str, Any]
) -> Config:
    if config is None:
        return load_config(recipe, file, **settings)
    if not isinstance(config, Config):
        raise UserError(
            f"config must be the Config of mrkd.load_config, got {type(config).__name__}: name images with data=..., "
            "a YAML file with file=..."
        )
    if recipe is not None or file is not None:
        raise UserError("a config has all settings already: leave out recipe and file, or give them to load_config")
    return changed_config(config, **settings)
