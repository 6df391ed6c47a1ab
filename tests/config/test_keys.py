from mrkd.config.keys import equal_among_compared, known_keys, may_change, part_of_measurement


def section(name: str) -> set[str]:
    return {key for key in known_keys() if key.startswith(f"{name}.")}


def test_what_does_not_change_what_is_trained_may_change_when_a_run_goes_on():
    assert {key for key in section("data") if may_change(key)} == {"data.cache", "data.cache_gib", "data.workers"}
    fixed = "epochs steps minutes batch auto_batch seed accelerator precision micro_batch checkpoint_activations"
    assert {key for key in section("train") if not may_change(key)} == {f"train.{name}" for name in fixed.split()}
    assert all(may_change(key) for key in section("evaluation") | section("attention"))
    others = ("views", "mask", "model", "head", "distillation", "objective", "optim")
    assert not any(may_change(key) for name in others for key in section(name))


def test_compared_methods_share_images_batch_length_and_evaluation():
    lengths = {"train.batch", "train.auto_batch", "train.epochs", "train.steps", "train.minutes"}
    shared = section("data") | section("evaluation") | lengths
    assert {key for key in known_keys() if equal_among_compared(key)} == shared


def test_a_measurement_depends_on_the_scored_images_and_on_the_evaluation_but_not_on_the_map():
    images = "source size train_images test_images holdout image_column label_column use_labels"
    data = {f"data.{name}" for name in images.split()}
    measured = {key for key in known_keys() if part_of_measurement(key)}
    assert measured == data | section("evaluation") - {"evaluation.map_images"}


def test_of_a_key_that_does_not_exist_nothing_is_said():
    for question in (may_change, equal_among_compared, part_of_measurement):
        assert not question("train.epoch")
        assert not question("data.")
