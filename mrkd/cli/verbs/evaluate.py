"""`mrkd evaluate`."""

import argparse

from mrkd.cli.options import run_config
from mrkd.cli.verb import Verb
from mrkd.config import Config


def show_evaluation(path: str, config: Config) -> None:
    """Measure a run and print its figures in one line."""
    from mrkd.evaluation.evaluate_run import evaluate

    results = evaluate(path, config)
    linear = ", ".join(f"{name.replace('_', ' ')} {value['acc1']:.1f}" for name, value in results["linear"].items())
    fine = f" · fine-tune {results['finetune']['acc1']:.1f}" if "finetune" in results else ""
    print(
        f"k-NN {results['knn']['acc1']:.1f} % · linear {linear}{fine} · k-means {results['kmeans']['acc']:.1f} "
        f"· RankMe {results['health']['rankme']:.1f} · {results['data']['test_images']} images of the "
        f"{results['data']['scored_on']} split, {results['seconds']:.0f} s"
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")


def _run(options: argparse.Namespace) -> None:
    show_evaluation(options.run, run_config(options))


VERB = Verb(
    name="evaluate",
    summary="measure a run: k-NN, linear, fine-tune, clusters",
    example="mrkd evaluate runs/a",
    run=_run,
    options=_options,
    takes_settings=True,
)
