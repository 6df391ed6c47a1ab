import dataclasses

from mrkd.config import ViewsConfig
from mrkd.data.load import load
from mrkd.evaluation.evaluate_run import measure
from mrkd.evaluation.features import extract_features
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone


def figures(run, config) -> dict:
    splits, vit = load(config.data), load_backbone(run)
    train, test = extract_features(vit, splits.train), extract_features(vit, splits.test)
    found = measure(vit, train, test, config)
    return {name: found[name] for name in ("cluster_head", "finetune")}


def test_clustering_head_and_finetuning_use_the_augmentation_of_evaluation_and_not_the_training_views(
    trained_run,
):
    run = RunDirectory(trained_run)
    config = run.config()
    before = figures(run, config)
    views = ViewsConfig(crop_scale=(0.1, 0.2), rotate_degrees=90.0, local_views=2)
    assert figures(run, dataclasses.replace(config, views=views)) == before
    evaluation = dataclasses.replace(
        config.evaluation, augmentation_crop_scale=(0.1, 0.2), augmentation_rotate_degrees=90.0, finetune_epochs=3
    )
    assert figures(run, dataclasses.replace(config, evaluation=evaluation)) != before
