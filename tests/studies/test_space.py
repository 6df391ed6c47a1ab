import pytest

from mrkd.errors import UserError
from mrkd.studies.space import Choice, Range, check_space, parse_space, read_space


def test_ranges_and_choices_are_read_from_words():
    space = parse_space(
        [
            "optim.learning_rate=0.001..0.1:log",
            "head.layers=2..4",
            "distillation.centering=sinkhorn,ema",
            "mask.ratio=[0.1,0.4],[0.2,0.5]",
        ]
    )
    assert space == {
        "optim.learning_rate": Range(0.001, 0.1, log=True),
        "head.layers": Range(2, 4),
        "distillation.centering": Choice(("sinkhorn", "ema")),
        "mask.ratio": Choice(((0.1, 0.4), (0.2, 0.5))),
    }


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "optim: {learning_rate: {low: 0.001, high: 0.1, log: true}, ema: [0.9, 0.95]}\n"
        "head: {layers: {low: 2, high: 4}}"
    )
    words = ["optim.learning_rate=0.001..0.1:log", "optim.ema=0.9,0.95", "head.layers=2..4"]
    assert read_space(path) == parse_space(words)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.learning_rate", "expected KEY=LOW..HIGH"),
        ("optim.learning_rat=1..2", "did you mean 'optim.learning_rate'"),
        ("optim.ema=0.9..0.8", "low < high"),
        ("optim.ema=a..b", "must be numbers, got 'a'"),
        ("optim.learning_rate=0..1:log", "begin above 0"),
        ("optim.learning_rate=1..2:lin", "expected KEY=LOW..HIGH"),
        ("optim.ema=0.9", "at least 2 values"),
        ("mask.ratio=[0.1,0.4", "expected values separated by commas"),
    ],
)
def test_wrong_words_are_refused_with_what_was_expected(word, message):
    with pytest.raises(UserError, match=message):
        parse_space([word])


def test_a_wrong_file_is_refused_with_the_setting(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("optim: {ema: 0.9}")
    with pytest.raises(UserError, match=r"optim\.ema must hold a list of values or"):
        read_space(path)
    path.write_text("optim: {ema: {low: a, high: 0.9}}")
    with pytest.raises(UserError, match=r"optim\.ema: the ends of a range must be numbers, got 'a'"):
        read_space(path)
    path.write_text("optim: {learning_rate: {low: 1e-4, high: 1e-2}}")
    assert read_space(path)["optim.learning_rate"] == Range(1e-4, 1e-2)


def test_values_get_the_types_of_their_settings(tiny_config):
    words = [
        "optim.weight_decay=0..1",
        "head.layers=2..4",
        "optim.learning_rate=1e-3,0.004",
        "mask.ratio=[0.1,0.4],[0,0.2]",
    ]
    space = check_space(parse_space(words), tiny_config)
    assert not space["optim.weight_decay"].whole
    assert space["head.layers"].whole
    assert space["optim.learning_rate"] == Choice((0.001, 0.004))
    assert space["mask.ratio"] == Choice(((0.1, 0.4), (0.0, 0.2)))


def test_ends_that_the_config_refuses_are_found_before_anything_is_trained(tiny_config):
    with pytest.raises(UserError, match=r"optim\.ema"):
        check_space(parse_space(["optim.ema=0.9..1.5"]), tiny_config)
    with pytest.raises(UserError, match=r"head\.layers"):
        check_space(parse_space(["head.layers=1.5..4"]), tiny_config)
    with pytest.raises(UserError, match="not for tuning"):
        check_space(parse_space(["train.seed=0..5"]), tiny_config)
    for equal in ("train.epochs=2,3", "train.batch=auto,32", "data.size=32,64"):
        with pytest.raises(UserError, match="same images, batch and length"):
            check_space(parse_space([equal]), tiny_config)
    with pytest.raises(UserError, match="nothing to vary"):
        check_space({}, tiny_config)
