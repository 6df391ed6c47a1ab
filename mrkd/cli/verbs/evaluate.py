"""`mrkd evaluate`."""

import argparse
from collections.abc import Mapping
from typing import Any

from mrkd.cli.options import run_config
from mrkd.cli.verb import Verb
from mrkd.config import Config
from mrkd.system.output import say


def teacher_line(results: Mapping[str, Any]) -> str:
    """`teacher NAME: k-NN 95.0 % · …; the student reaches 97 % of its k-NN`."""
    from mrkd.evaluation.evaluator import main_results
    from mrkd.evaluation.evaluators import EVALUATORS

    teacher = results["teacher"]
    theirs, ours = main_results(EVALUATORS, teacher), main_results(EVALUATORS, results)
    figures = " · ".join(f"{result.title} {result.figure}" for result in theirs)
    share = 100 * ours[0].number / theirs[0].number
    return f"teacher {teacher['source']}: {figures}; the student reaches {share:.0f} % of its {theirs[0].title}"


def show_evaluation(path: str, config: Config) -> None:
    """Measure a run and print its figures in one line."""
    from mrkd.evaluation.evaluate_run import evaluate
    from mrkd.evaluation.evaluator import main_results
    from mrkd.evaluation.evaluators import EVALUATORS

    results = evaluate(path, config)
    figures = " · ".join(f"{result.title} {result.figure}" for result in main_results(EVALUATORS, results))
    scored = results["data"]
    if "teacher" in results:
        say(teacher_line(results))
    say(f"{figures} · {scored['test_images']} images of the {scored['scored_on']} split, {results['seconds']:.0f} s")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")


def _run(options: argparse.Namespace) -> None:
    show_evaluation(options.run, run_config(options, "evaluate", ("data", "evaluation")))


VERB = Verb(
    name="evaluate",
    summary="evaluate a run: k-NN, linear probe, fine-tuning, clustering",
    example="mrkd evaluate runs/a",
    run=_run,
    options=_options,
    takes_settings=True,
)
