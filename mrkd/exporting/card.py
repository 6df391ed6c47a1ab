"""The model card: what was trained on what, how, how well it does, and what nobody knows about it."""

from collections.abc import Mapping
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.config.overrides import to_dict
from mrkd.config.source import source_name
from mrkd.evaluation.evaluator import main_results
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.exporting.subject import Subject
from mrkd.objective.methods import all_methods, resolve_terms


def model_card(subject: Subject) -> str:
    """Markdown with the front matter that the hub reads."""
    config = subject.config
    parts = [
        _front_matter(),
        f"# Vision Transformer trained with {config.objective.method}",
        f"Features of images, learnt without labels by mrkd (masked relational knowledge distillation): the teacher's "
        f"backbone, {sum(parameter.numel() for parameter in subject.vit.parameters()):,} parameters, "
        f"{subject.vit.embed_dim} numbers an image, for images of {subject.size} × {subject.size} pixels.",
        _usage(subject),
        "## Data\n\n" + _data(subject),
        "## Method\n\n" + _method(subject),
        "## Figures\n\n" + _figures(subject),
        "## Licence\n\nThe code that trained it is Apache-2.0. Nobody has stated a licence for these weights: add one "
        "to the head of this file, within what the images' own terms allow.",
        "## Limits\n\n" + _limits(subject),
        f"## Recipe\n\n```yaml\n{_recipe(config)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _recipe(config: Config) -> str:
    """The settings as YAML, with the images' short name: where they lie on this machine is nobody's business."""
    tree = to_dict(config)
    tree["data"]["source"] = source_name(config.data.source)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def _front_matter() -> str:
    matter = {
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["image-feature-extraction", "timm", "self-supervised", "mrkd"],
    }
    return f"---\n{yaml.safe_dump(matter, sort_keys=False)}---"


def _usage(subject: Subject) -> str:
    return (
        "## Use\n\n```python\nimport timm\n\n"
        'model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True).eval()\n'
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)\n"
        "features = model(transform(image).unsqueeze(0))  # image: a PIL image in RGB; "
        f"(1, {subject.vit.embed_dim})\n```"
    )


def _data(subject: Subject) -> str:
    data, evaluation = subject.config.data, subject.evaluation()
    text = f"Source: `{source_name(data.source)}`, resized to {data.size} pixels."
    if evaluation is not None:
        measured = evaluation["data"]
        text += f" {measured['train_images']} images were trained on; {measured['test_images']} others were scored."
    return text + " No label was used in training."


def _method(subject: Subject) -> str:
    config = subject.config
    lines = [
        f"- {part}: {all_methods()[part].summary} ({all_methods()[part].source})"
        for part in config.objective.method.split("+")
        if part in all_methods()
    ]
    lines += [
        f"- term `{term.loss}` on {term.tokens} tokens, {term.space} space, "
        + (
            f"weight {term.weight:g}"
            if term.grad_norm_ratio is None
            else f"gradient norm ratio {term.grad_norm_ratio:g}"
        )
        for term in resolve_terms(config.objective)
    ]
    summary = subject.summary()
    if summary is not None and subject.checkpoint == "backbone":
        lines.append(
            f"- {summary['steps']} steps of {config.train.batch} images, seed {summary['seed']}, "
            f"{summary['seconds']:.0f} s on {summary['device']}; mrkd {summary['versions']['mrkd']}, "
            f"torch {summary['versions']['torch']}"
        )
    else:
        lines.append(f"- from the checkpoint `{subject.checkpoint}` of a run of {config.train.epochs} epochs")
    return "\n".join(lines)


def _figures(subject: Subject) -> str:
    evaluation = subject.evaluation()
    if evaluation is None:
        return "Not evaluated: `mrkd evaluate` before exporting puts its figures here."
    results = main_results(EVALUATORS, evaluation)
    scores = [result for result in results if result.column.unit == "%"]
    lines = ["| measured | percent | protocol |", "|---|---|---|"]
    lines += [
        f"| {score.title} | {score.column.text(score.number)} | {_protocol(score.protocol)} |" for score in scores
    ]
    others = [
        f" {result.title}: {result.figure}" + (f" ({_protocol(result.protocol)})." if result.protocol else ".")
        for result in results
        if result not in scores
    ]
    scored = evaluation["data"]
    return "\n".join(lines) + f"\n\nOn the {scored['scored_on']} split of {scored['name']}.{''.join(others)}"


def _protocol(protocol: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in protocol.items())


def _limits(subject: Subject) -> str:
    summary = subject.summary()
    verdict = f"Verdict at the end of training: {summary['verdict']['sentence']}. " if summary else ""
    return (
        f"{verdict}It has seen the images above and no others, at {subject.size} pixels: nothing is known about its "
        "worth on other images or sizes, and whatever is over- or under-represented in them is so in its features. "
        "It gives features, not decisions."
    )
