"""The model card: data, method, results, recipe and limits of a trained backbone."""

from collections.abc import Mapping
from typing import Any

import yaml

from mrkd.config import Config
from mrkd.config.overrides import to_dict
from mrkd.config.source import source_name
from mrkd.evaluation.evaluator import main_results
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.exporting.trained_backbone import TrainedBackbone
from mrkd.objective.resolve import all_methods, resolve_terms


def model_card(backbone: TrainedBackbone) -> str:
    """The card as Markdown, with the front matter that the hub reads."""
    config = backbone.config
    parts = [
        _front_matter(),
        f"# Vision Transformer trained with {config.objective.method}",
        f"Features of images, learnt without labels by mrkd (masked relational knowledge distillation): the teacher's "
        f"backbone, {sum(parameter.numel() for parameter in backbone.vit.parameters()):,} parameters, "
        f"{backbone.vit.embed_dim} features per image, for images of {backbone.size} × {backbone.size} pixels.",
        _usage(backbone),
        "## Data\n\n" + _data(backbone),
        "## Method\n\n" + _method(backbone),
        "## Results\n\n" + _results(backbone),
        "## Licence\n\nThe code that trained it is Apache-2.0. No licence is stated for these weights: add one "
        "to the head of this file, as the terms of the images allow.",
        "## Limits\n\n" + _limits(backbone),
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


def _usage(backbone: TrainedBackbone) -> str:
    return (
        "## Use\n\n```python\nimport timm\n\n"
        'model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True).eval()\n'
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)\n"
        "features = model(transform(image).unsqueeze(0))  # image: a PIL image in RGB; "
        f"(1, {backbone.vit.embed_dim})\n```"
    )


def _data(backbone: TrainedBackbone) -> str:
    data, evaluation = backbone.config.data, backbone.evaluation()
    text = f"Source: `{source_name(data.source)}`, resized to {data.size} pixels."
    if evaluation is not None:
        measured = evaluation["data"]
        text += f" {measured['train_images']} images for training, {measured['test_images']} others for evaluation."
    return text + " Training used no labels."


def _method(backbone: TrainedBackbone) -> str:
    config = backbone.config
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
    summary = backbone.summary()
    if summary is not None and backbone.checkpoint == "backbone":
        lines.append(
            f"- {summary['steps']} steps of {config.train.batch} images, seed {summary['seed']}, "
            f"{summary['seconds']:.0f} s on {summary['device']}; mrkd {summary['versions']['mrkd']}, "
            f"torch {summary['versions']['torch']}"
        )
    else:
        lines.append(f"- from the checkpoint `{backbone.checkpoint}` of a run of {config.train.epochs} epochs")
    return "\n".join(lines)


def _results(backbone: TrainedBackbone) -> str:
    evaluation = backbone.evaluation()
    if evaluation is None:
        return "Not evaluated. Run `mrkd evaluate` before exporting to include results here."
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


def _limits(backbone: TrainedBackbone) -> str:
    summary = backbone.summary()
    verdict = f"Verdict at the end of training: {summary['verdict']['sentence']}. " if summary else ""
    return (
        f"{verdict}The network was trained on the images above only, at {backbone.size} pixels; its quality on other "
        "images or sizes was not measured. Biases of the training images carry over to the features. The network "
        "returns features, not decisions."
    )
