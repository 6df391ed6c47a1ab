"""`mrkd embed`."""

import argparse

from mrkd.cli.options import add_checkpoint_option, run_config_on
from mrkd.cli.verb import Verb
from mrkd.system.output import say


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--data", help="the images, as for pretrain (default: those of the run)")
    parser.add_argument(
        "--out",
        required=True,
        help="a .parquet, .npz or .npy file (.npy: vectors alone, with their paths in NAME.paths.json)",
    )
    parser.add_argument(
        "--tokens", choices=("cls", "patch-mean"), default="cls", help="class token (default) or mean of the patches"
    )
    add_checkpoint_option(parser)


def _run(options: argparse.Namespace) -> None:
    config = run_config_on(options)
    from mrkd.downstream.embed import embed

    found = embed(options.run, out=options.out, tokens=options.tokens, checkpoint=options.checkpoint, config=config)
    labels = f", {len(found.class_names)} classes" if found.labels is not None else ", no labels"
    say(f"embeddings: {options.out} ({len(found)} images, {found.vectors.shape[1]} numbers each{labels})")


VERB = Verb(
    name="embed",
    summary="write an embedding of each image, with its path and label",
    example="mrkd embed runs/a --data digits --out embeddings.parquet",
    run=_run,
    options=_options,
    takes_settings=True,
)
