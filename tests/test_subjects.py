"""Runs, checkpoints and backbones evaluated afterwards: on which images, with what kept."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from runs import lines, make_photos, tiny_recipe
from safetensors.torch import save_file

import sslkit
from sslkit.errors import PluginError, RecipeError, RunError
from sslkit.recipe.load import load_recipe
from sslkit.run import Findings
from sslkit.run import evaluate_run as door
from sslkit.subjects import ask, elsewhere
from sslkit.train.trackers import on_own_data


def evaluate_run(*words: Any, **options: Any) -> Any:
    """Results of any kind by name."""
    found = door(*words, **options)
    assert isinstance(found, Findings)
    return found


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and photos elsewhere."""
    folder = tmp_path_factory.mktemp("evaluated")
    other = make_photos(folder / "elsewhere", count=60)
    for number, path in enumerate(sorted((other / "red").iterdir())):  # classes that no colour tells apart
        if number % 2:
            path.rename(other / "green" / path.name)
    sslkit.run(tiny_recipe(make_photos(folder / "photos")), quiet=True, out=folder / "a")
    return folder


def test_other_images_do_not_replace_a_runs_own_numbers(evaluated: Path, tmp_path: Path) -> None:
    run = shutil.copytree(evaluated / "a", tmp_path / "a")
    own = lines(run, "eval")
    found = evaluate_run(run, [f"data.root={evaluated / 'elsewhere'}"])
    assert found.measured.dataset == "folder:elsewhere/val"
    assert found["knn"].metrics != own[-1]["metrics"]
    assert lines(run, "eval")[-1]["dataset"] == "folder:elsewhere/val"
    assert list(on_own_data(lines(run, "eval"))) == own
    resumed: Any = sslkit.run(run, resume=True, quiet=True)
    assert resumed.metrics["knn/top1_k3"] == own[-1]["metrics"]["top1_k3"]
    for figure in found["knn"].figures.values():
        assert figure.is_relative_to(run / "figures" / "folder-elsewhere-val" / "knn")


@pytest.mark.parametrize(
    ("words", "dataset"),
    [
        (["eval.crop=12"], "folder/val crop=12"),
        (["eval.batch_size=3", "data.workers=0", "eval.evaluators.knn.k=[1]"], "folder/val"),
        (["eval.max_images=2", "data.labels=folders"], "folder:photos/val labels=folders max_images=2"),
    ],
)
def test_what_it_was_measured_on_is_said(evaluated: Path, words: list[str], dataset: str) -> None:
    own = load_recipe(evaluated / "a" / "recipe.yaml").recipe
    other = load_recipe(evaluated / "a" / "recipe.yaml", words).recipe
    named = elsewhere(own, other)
    assert (named or "folder/val") == dataset.replace("folder/", "folder:photos/" if named else "folder/")


def test_features_are_kept_for_the_next_time(evaluated: Path, tmp_path: Path) -> None:
    run = shutil.copytree(evaluated / "a", tmp_path / "a")
    first = evaluate_run(run, cache=False)
    assert not (run / "cache").exists()
    second = evaluate_run(run)
    parts = sorted((run / "cache" / "features").rglob("*.safetensors"))
    assert len(parts) == 2
    times = [part.stat().st_mtime_ns for part in parts]
    third = evaluate_run(run)
    assert [part.stat().st_mtime_ns for part in parts] == times
    assert first["knn"].metrics == second["knn"].metrics == third["knn"].metrics
    evaluate_run(sorted((run / "checkpoints").iterdir())[0])
    assert len(list((run / "cache" / "features").iterdir())) == 4


def test_a_backbone_alone(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(evaluated / "a" / "backbone.safetensors", "alone.safetensors")
    shutil.copytree(evaluated / "a", "run")
    with pytest.raises(RunError, match=r"data\.name=folder data\.root=DIR"):
        evaluate_run("alone.safetensors")
    data = [f"data.root={evaluated / 'photos'}", "data.name=folder", "eval.evaluators.knn.k=[3]"]
    found = evaluate_run("alone.safetensors", [*data, "eval.resize=16", "eval.crop=16"])
    assert found["knn"].metrics == lines(evaluated / "a", "eval")[-1]["metrics"]
    assert found.measured.step is None
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    beside = evaluate_run("run/backbone.safetensors")  # its recipe lies beside it: no data need be named
    assert beside["knn"].metrics == found["knn"].metrics
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_a_network_of_timms(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    data = [f"data.root={evaluated / 'photos'}", "data.name=folder", "eval.resize=32", "eval.crop=32"]
    first = evaluate_run("timm:test_resnet", data, on=["knn"])
    assert evaluate_run("timm:test_resnet", data, on=["knn"])["knn"].metrics == first["knn"].metrics
    weights = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(weights, "weights.safetensors")
    asked = ask("timm:test_resnet", [*data, "backbone.weights=weights.safetensors"])
    loaded = asked.subject.backbone.network.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())
    with pytest.raises(RecipeError, match="did you mean 'test_resnet'"):
        evaluate_run("timm:test_resnett", data)


def test_what_cannot_be_asked_is_said_before_anything_is_computed(evaluated: Path) -> None:
    with pytest.raises(
        RunError, match=r"it needs masks, which this data does not have\n.*data\.masks="
    ) as told:
        evaluate_run(evaluated / "a", on=["knn", "attention"])
    assert str(told.value).startswith("attention cannot be asked")
    with pytest.raises(PluginError, match="did you mean 'knn'"):
        evaluate_run(evaluated / "a", on=["knm"])
    with pytest.raises(RunError, match="there is no run in"):
        evaluate_run(evaluated)
