import dataclasses
import json
import shutil

import pytest
import timm
import torch
from safetensors import safe_open

import mrkd
from mrkd.cli import main
from mrkd.cli.verbs.export import FORMATS
from mrkd.data.augment.views import normalize
from mrkd.data.load import load
from mrkd.errors import UserError
from mrkd.exporting.formats import FORMATS as ALL_FORMATS
from mrkd.model.head import Head
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone, load_head

TARGETS = {"timm": "b.safetensors", "safetensors": "b.safetensors", "torch": "b.pth", "onnx": "b.onnx", "hf": "hub"}


@pytest.fixture(scope="module")
def features(trained_run):
    """Normalised images and the run's features of them."""
    images = normalize(load(RunDirectory(trained_run).config().data).train.images[:7])
    with torch.no_grad():
        return images, load_backbone(RunDirectory(trained_run))(images)


@pytest.mark.parametrize("form", ["timm", "hf"])
def test_the_printed_line_loads_the_same_features_with_plain_timm(trained_run, features, tmp_path, form):
    done = mrkd.export(trained_run, tmp_path / TARGETS[form], form)
    model = eval(done.load, {"timm": timm}).eval()
    with torch.no_grad():
        assert torch.equal(model(features[0]), features[1])
    assert done.difference == 0.0


def test_onnxruntime_gives_the_same_features_for_any_number_of_images(trained_run, features, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = mrkd.export(trained_run, tmp_path / "b.onnx", "onnx")
    session = onnxruntime.InferenceSession(str(done.path))
    for count in (1, 7):
        found, patches = session.run(None, {"images": features[0][:count].numpy()})
        assert patches.shape == (count, 16, 16)
        torch.testing.assert_close(torch.from_numpy(found), features[1][:count], atol=1e-4, rtol=0)
    assert json.loads(session.get_modelmeta().custom_metadata_map["mean"]) == [0.485, 0.456, 0.406]


def test_plain_torch_reads_tensors_and_plain_values(trained_run, features, tmp_path):
    mrkd.export(trained_run, tmp_path / "b.pth", "torch")
    saved = torch.load(tmp_path / "b.pth", weights_only=True)
    model = timm.create_model(saved["timm_name"], **saved["timm_arguments"])
    model.load_state_dict(saved["state_dict"])
    with torch.no_grad():
        assert torch.equal(model.eval()(features[0]), features[1])
    timm.create_model(saved["timm_name"], checkpoint_path=tmp_path / "b.pth", **saved["timm_arguments"])


def test_the_header_of_safetensors_says_how_to_create_the_network(trained_run, tmp_path):
    mrkd.export(trained_run, tmp_path / "b.safetensors", "safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        said = file.metadata()
    assert json.loads(said["timm_arguments"])["embed_dim"] == 16
    assert said["method"] == "ibot+rkd-d"


def test_the_head_is_written_to_its_own_file_and_gives_the_same_logits(trained_run, features, tmp_path):
    from safetensors.torch import load_file

    done = mrkd.export(trained_run, tmp_path / "b.safetensors", head=True)
    assert done.head == tmp_path / "b.head.safetensors"
    run = RunDirectory(trained_run)
    head = Head(16, run.config().head)
    head.load_state_dict(load_file(done.head))
    assert torch.equal(head.eval()(features[1]).logits, load_head(run)(features[1]).logits)
    assert (mrkd.export(trained_run, tmp_path / "hub", "hf", head=True).path / "head.safetensors").is_file()


def test_the_model_card_states_data_method_results_and_limits(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    before = (mrkd.export(run, tmp_path / "before", "hf").path / "README.md").read_text()
    assert "Not evaluated" in before
    results = mrkd.evaluate(run)
    card = (mrkd.export(run, tmp_path / "after", "hf").path / "README.md").read_text()
    for heading in ("## Data", "## Method", "## Results", "## Licence", "## Limits", "## Recipe"):
        assert heading in card
    assert f"| k-NN | {results['knn']['acc1']:.1f} |" in card
    assert "200 images for training, 100 others for evaluation" in card
    early = (mrkd.export(run, tmp_path / "early", "hf", checkpoint="2").path / "README.md").read_text()
    assert "Not evaluated" in early


def test_an_earlier_checkpoint_can_be_exported(trained_run, tmp_path):
    mrkd.export(trained_run, tmp_path / "early.pt", "torch", checkpoint="2")
    mrkd.export(trained_run, tmp_path / "late.pt", "torch", checkpoint="last")
    early, late = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("early", "late"))
    assert not torch.equal(early["state_dict"]["norm.weight"], late["state_dict"]["norm.weight"])


@pytest.mark.parametrize("difference", [1.0, float("nan")])
def test_an_export_that_gives_other_features_is_removed(trained_run, tmp_path, monkeypatch, difference):
    monkeypatch.setitem(ALL_FORMATS, "timm", dataclasses.replace(ALL_FORMATS["timm"], difference=lambda *_: difference))
    with pytest.raises(UserError, match="gives other features"):
        mrkd.export(trained_run, tmp_path / "b.safetensors", head=True)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_reported_in_one_line(trained_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"mrkd\[onnx\]"):
        mrkd.export(trained_run, tmp_path / "b.onnx", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "b.bin"], "ending in .safetensors"),
        (["--out", "there.pt", "--format", "torch"], "exists"),
        (["--out", "b.pt", "--format", "torch", "--checkpoint", "9"], "its steps: 2"),
        (["--out", "b.pt", "--format", "pickle"], "invalid choice: 'pickle'"),
    ],
)
def test_wrong_options_are_reported_in_one_line(trained_run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt").write_bytes(b"")
    assert main(["export", str(trained_run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_exporting_the_head_of_a_method_without_one_is_refused(tiny_config, tmp_path):
    objective = dataclasses.replace(tiny_config.objective, method="rkd-d")
    run = mrkd.pretrain(dataclasses.replace(tiny_config, objective=objective), tmp_path / "run")
    with pytest.raises(UserError, match="no projection head"):
        mrkd.export(run, tmp_path / "b.safetensors", head=True)
    assert not list(tmp_path.glob("b.*"))


def test_the_command_offers_all_formats_and_prints_the_difference(trained_run, tmp_path, capsys):
    assert set(FORMATS) == set(ALL_FORMATS)
    assert main(["export", str(trained_run), "--out", str(tmp_path / "b.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "verified: features differ by at most 0.0e+00" in shown
    assert "load with: timm.create_model(" in shown


@pytest.mark.parametrize("form", ["timm", "torch", "hf"])
def test_exports_of_equal_weights_are_equal_files(trained_run, tmp_path, form):
    shutil.copytree(trained_run, tmp_path / "copy")
    contents = []
    for number, run in enumerate((trained_run, trained_run, tmp_path / "copy", trained_run)):
        out = tmp_path / str(number) / TARGETS[form]
        mrkd.export(run, out, form, head=True)
        written = [path for path in out.parent.rglob("*") if path.is_file()]
        contents.append({path.relative_to(out.parent): path.read_bytes() for path in written})
    assert all(content == contents[0] for content in contents)
    assert len(contents[0]) >= 2


def test_a_card_names_the_images_without_their_place(trained_run, tmp_path):
    (tmp_path / "here" / "photos").mkdir(parents=True)
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("source: digits", f"source: {tmp_path / 'here' / 'photos'}"))
    mrkd.export(copy, tmp_path / "hub", "hf")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "Source: `photos`" in card
    assert "source: photos" in card
    assert str(tmp_path) not in card
