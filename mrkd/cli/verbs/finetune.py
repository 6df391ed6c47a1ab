"""`mrkd finetune`."""

import argparse
from pathlib import Path
from typing import Any

from mrkd.cli.options import add_checkpoint_option, parse_seeds, run_config_on
from mrkd.cli.verb import Verb
from mrkd.errors import UserError
from mrkd.system.output import say


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--data", help="labelled images, as for pretrain (default: those of the run)")
    parser.add_argument("--few", help="labels to use: a fraction of each class, such as 0.01, or a number per class")
    parser.add_argument("--seeds", default="0", help="whole numbers joined by commas (default %(default)s)")
    parser.add_argument("--rates", help="learning rates to try, joined by commas (default 0.0003,0.001,0.003)")
    parser.add_argument(
        "--no-scratch", action="store_true", help="train from the run's weights only, not also from random ones"
    )
    parser.add_argument("--out", help="new directory for classifier and results (default: RUN/finetune)")
    add_checkpoint_option(parser)


def _run(options: argparse.Namespace) -> None:
    config = run_config_on(options)
    seeds, few = parse_seeds(options.seeds), _few(options.few)
    out = Path(options.out or Path(options.run) / ("finetune" if few is None else f"finetune-few-{few:g}"))
    from mrkd.downstream.finetune import RATES, finetune

    results = finetune(
        options.run,
        out=out,
        few=few,
        seeds=seeds,
        rates=_rates(options.rates) or RATES,
        scratch=not options.no_scratch,
        checkpoint=options.checkpoint,
        config=config,
    )
    data = results["data"]
    say(
        f"{data['labels']} labels of {data['classes']} classes, {data['test_images']} images of the "
        f"{data['scored_on']} split, seeds {options.seeds}"
    )
    for kind, title in (("pretrained", f"from {config.objective.method}"), ("scratch", "from random weights")):
        if kind in results:
            rates = ", ".join(f"{rate:g}" for rate in results[kind]["learning_rates"])
            say(
                f"  {title:22s} top-1 {_figure(results[kind]['acc1'])}   top-5 {_figure(results[kind]['acc5'])}   "
                f"learning rate {rates} ({results[kind]['chosen_on']})"
            )
    say(f'classifier: {out} (timm.create_model("local-dir:{out}", pretrained=True))')


def _few(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UserError(
            f"--few must be a fraction such as 0.01, or a number of labels per class, got {text!r}"
        ) from None


def _rates(text: str | None) -> list[float]:
    try:
        return [float(rate) for rate in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--rates must be numbers such as 0.001,0.003, got {text!r}") from None


def _figure(value: dict[str, Any]) -> str:
    return f"{value['mean']:.1f}" + ("" if value["std"] is None else f" ± {value['std']:.1f}")


VERB = Verb(
    name="finetune",
    summary="train a classifier on labels, and compare it with random weights",
    example="mrkd finetune runs/a --data digits --few 0.1 --seeds 0,1,2",
    run=_run,
    options=_options,
    takes_settings=True,
)
