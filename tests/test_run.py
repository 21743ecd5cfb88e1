"""A run from its recipe to its directory: the contract, and that a resume is exact."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from runs import METHODS, learned, lines, make_photos, tiny_recipe, tiny_recipe_of
from safetensors import safe_open
from safetensors.torch import load_file

import sslkit
from sslkit.errors import DataError, RecipeError, RunError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


def go(recipe: dict[str, Any], *overrides: str, **how: Any) -> Any:
    return sslkit.run(recipe, overrides, quiet=True, **how)


def digest(run_dir: Path) -> str:
    return hashlib.sha256((run_dir / "backbone.safetensors").read_bytes()).hexdigest()


def test_the_run_directory_is_the_contract(photos: Path, tmp_path: Path) -> None:
    result = go(tiny_recipe(photos), out=tmp_path / "a")
    found = {str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert {
        "recipe.yaml",
        "run.json",
        "metrics.jsonl",
        "backbone.safetensors",
        "figures/crops.png",
        "figures/attention.png",
        "figures/curves.png",
    } <= found
    assert not [name for name in found if ".tmp" in name]
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == result.status == "finished"
    assert record["step"] == 15 or record["step"] == 3 * record["setup"]["steps_per_epoch"]
    assert {"seed", "device", "threads", "world_size", "plugins", "packages", "started", "ended"} <= set(
        record
    )
    assert any(p["name"].endswith("methods.dino") for p in record["plugins"])


READS = """
from dataclasses import dataclass
from sslkit import Tracker, hookimpl

@dataclass
class Config:
    "None."

class Reads(Tracker):
    Config = Config

    def __init__(self, config, run_dir, name):
        (run_dir / "seen.yaml").write_text((run_dir / "recipe.yaml").read_text())

    def log(self, record):
        pass

    def figure(self, name, path):
        pass

    def close(self):
        pass

@hookimpl
def sslkit_trackers():
    return {"reads": Reads}

@hookimpl
def sslkit_step_finished(progress):
    pass
"""


def test_a_tracker_finds_the_recipe_and_hooks_are_timed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "reads.py").write_text(READS)
    recipe = tiny_recipe(photos, trackers=["reads"], runtime={"max_steps": 2})
    for resume in (False, True):
        changes = ["runtime.max_steps=3"] if resume else []
        go(recipe, *changes, out=tmp_path / "a", plugins=[str(tmp_path / "reads.py")], resume=resume)
    assert (tmp_path / "a/seen.yaml").read_text() == (tmp_path / "a/recipe.yaml").read_text()
    times = {(t["plugin"], t["hook"]): t for t in json.loads((tmp_path / "a/run.json").read_text())["hooks"]}
    assert times["reads.py", "sslkit_step_finished"]["calls"] == 3
    assert times["sslkit.report.page", "sslkit_run_finished"]["calls"] == 2
    assert times["sslkit.report.page", "sslkit_run_finished"]["seconds"] > 0


def test_each_step_has_its_metrics(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "a")
    steps = lines(tmp_path / "a", "step")
    assert [r["step"] for r in steps] == list(range(1, len(steps) + 1))
    wanted = {"loss", "teacher_entropy", "kl", "mean_teacher_entropy", "center_norm", "grad_norm", "lr"}
    wanted |= {"weight_decay", "teacher_momentum", "images_per_second", "data_wait", "epoch"}
    assert all(wanted <= set(r) for r in steps)
    assert steps[0]["lr"] == 0
    for r in steps:
        assert r["loss"] == pytest.approx(r["teacher_entropy"] + r["kl"], rel=1e-5)
        assert 0 <= r["data_wait"] <= 1
    evals = lines(tmp_path / "a", "eval")
    assert evals[0]["step"] == 0
    assert evals[-1]["step"] == steps[-1]["step"]
    assert 0 <= evals[-1]["metrics"]["top1_k3"] <= 1


def test_timm_alone_loads_the_backbone(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "a")
    path = tmp_path / "a/backbone.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    name, args = json.loads(metadata["name"]), json.loads(metadata["args"])
    network = timm.create_model(name, num_classes=0, **args)
    network.load_state_dict(load_file(path))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        wanted = sslkit.load_backbone(tmp_path / "a")(images)
        torch.testing.assert_close(network.eval()(images), wanted)


def test_the_exported_backbone_is_the_teacher_at_the_end(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "a")
    teacher = load_file(tmp_path / "a" / newest(tmp_path / "a") / "model.safetensors")
    for key, value in load_file(tmp_path / "a/backbone.safetensors").items():
        assert torch.equal(value, teacher[f"teacher._network.{key}"])


def test_the_resolved_recipe_runs_again_to_the_same_weights(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "a")
    sslkit.run(tmp_path / "a/recipe.yaml", quiet=True, out=tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert learned(lines(tmp_path / "a")) == learned(lines(tmp_path / "b"))


def test_a_resume_of_a_finished_run_adds_nothing(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "a")
    before = (tmp_path / "a/metrics.jsonl").read_bytes(), digest(tmp_path / "a")
    assert go(tiny_recipe(photos), out=tmp_path / "a", resume=True).status == "finished"
    assert ((tmp_path / "a/metrics.jsonl").read_bytes(), digest(tmp_path / "a")) == before


def test_what_the_end_owes_is_done_on_resume(photos: Path, tmp_path: Path) -> None:
    """Stopped after the last step or at an epoch's end, before the evaluation that is due there."""
    go(tiny_recipe(photos), out=tmp_path / "whole")
    steps = lines(tmp_path / "whole", "step")[-1]["step"]
    for stop in (steps, steps // 3):
        run_dir = tmp_path / f"stopped{stop}"
        go(tiny_recipe(photos), f"runtime.max_steps={stop}", out=run_dir)
        kept = [r for r in lines(run_dir) if not (r["kind"] != "step" and r["step"] == stop)]
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in kept))
        result = go(tiny_recipe(photos), out=run_dir, resume=True)
        assert learned(lines(run_dir)) == learned(lines(tmp_path / "whole"))
        assert result.metrics
        assert json.loads((run_dir / "run.json").read_text())["metrics"] == result.metrics


def test_a_resume_keeps_how_the_run_began(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), "runtime.max_steps=2", out=tmp_path / "a")
    began = json.loads((tmp_path / "a/run.json").read_text())
    go(tiny_recipe(photos), out=tmp_path / "a", resume=True)
    ended = json.loads((tmp_path / "a/run.json").read_text())
    assert (ended["started"], ended["command"]) == (began["started"], began["command"])
    assert len(ended["resumed"]) == 1


def test_a_tracker_that_cannot_be_built_leaves_nothing_behind(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from sslkit import Tracker, hookimpl\n"
        "from sslkit.errors import RecipeError\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Nothing:\n    pass\n"
        "class Broken(Tracker):\n    Config = Nothing\n"
        "    def __init__(self, config, run_dir, name):\n        raise RecipeError('no server')\n"
        "    def log(self, record):\n        pass\n"
        "@hookimpl\ndef sslkit_trackers():\n    return {'broken': Broken}\n"
    )
    recipe = tiny_recipe(photos) | {"trackers": ["broken"]}
    with pytest.raises(RecipeError, match="no server"):
        go(recipe, plugins=[str(tmp_path / "broken.py")], out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["sgd", "lamb", "adafactor"])
def test_other_optimisers_resume_exactly(photos: Path, tmp_path: Path, name: str) -> None:
    words = [f"optim.name={name}", "eval.every_epochs=null"]
    go(tiny_recipe(photos), *words, out=tmp_path / "whole")
    go(tiny_recipe(photos), *words, "runtime.max_steps=5", out=tmp_path / "a")
    go(tiny_recipe(photos), *words, out=tmp_path / "a", resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "whole")


def test_collapse_can_stop_a_run_and_all_is_kept(photos: Path, tmp_path: Path) -> None:
    words = ["method.teacher_temperature=1000", "method.warmup_teacher_temperature=1000"]  # uniform targets
    words += ["health.on_collapse=stop", "optim.epochs=40", "optim.lr=0.3", "eval.every_epochs=null"]
    with pytest.raises(RunError, match="uniform collapse"):
        go(tiny_recipe(photos), *words, out=tmp_path / "a")
    last = lines(tmp_path / "a", "health")[-1]
    assert last["verdict"] == "uniform collapse"
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "failed"
    assert record["step"] == last["step"] < 40 * record["setup"]["steps_per_epoch"]  # not only at the end
    assert list((tmp_path / "a/checkpoints").iterdir())
    assert (tmp_path / "a/report.html").is_file()


def test_evaluation_can_use_labels_from_elsewhere(photos: Path, tmp_path: Path) -> None:
    flat = make_photos(tmp_path / "flat", labelled=False)
    elsewhere = f"eval.data={{name: folder, root: {photos}}}"
    words = [elsewhere, "eval.max_images=8", "runtime.max_steps=2", "runtime.log_every=2"]
    go(tiny_recipe(flat), *words, out=tmp_path / "a")
    evals = lines(tmp_path / "a", "eval")
    assert [r["step"] for r in evals] == [0, 2]
    assert evals[0]["images"] <= 8
    assert [r["step"] for r in lines(tmp_path / "a", "step")] == [2]


def test_bf16_and_micro_batches_go_through_the_whole_run(photos: Path, tmp_path: Path) -> None:
    words = ["runtime.precision=bf16", "optim.accumulate=2", "runtime.max_steps=3"]
    assert go(tiny_recipe(photos), *words, out=tmp_path / "a").status == "finished"


def test_micro_batches_see_the_views_of_the_whole_batch(photos: Path, tmp_path: Path) -> None:
    words = ["backbone.drop_path_rate=0", "runtime.max_steps=4", "eval.every_epochs=null"]
    go(tiny_recipe(photos), *words, out=tmp_path / "one")
    go(tiny_recipe(photos), *words, "optim.accumulate=4", out=tmp_path / "four")
    losses = [[r["loss"] for r in lines(tmp_path / name, "step")] for name in ("one", "four")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_another_seed_is_another_run(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), "runtime.max_steps=1", out=tmp_path / "a")
    go(tiny_recipe(photos), "runtime.max_steps=1", "seed=1", out=tmp_path / "b")
    assert lines(tmp_path / "a", "step")[0]["loss"] != lines(tmp_path / "b", "step")[0]["loss"]


@pytest.mark.parametrize("stop", [3, 4, 7])
def test_a_run_that_ends_early_goes_on_exactly(photos: Path, tmp_path: Path, stop: int) -> None:
    go(tiny_recipe(photos), out=tmp_path / "whole")
    go(tiny_recipe(photos), f"runtime.max_steps={stop}", out=tmp_path / "a")
    go(tiny_recipe(photos), out=tmp_path / "a", resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "whole")
    assert learned(lines(tmp_path / "a", "step")) == learned(lines(tmp_path / "whole", "step"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_on_exactly(photos: Path, tmp_path: Path, method: str) -> None:
    """From the middle of an epoch, with all its state: second networks, queue, batch norm statistics."""
    recipe, no_eval = tiny_recipe_of(method, photos), "eval.every_epochs=null"
    go(recipe, no_eval, out=tmp_path / "whole")
    go(recipe, no_eval, "runtime.max_steps=7", out=tmp_path / "a")
    go(recipe, no_eval, out=tmp_path / "a", resume=True)
    assert learned(lines(tmp_path / "a", "step")) == learned(lines(tmp_path / "whole", "step"))
    for name in ("backbone.safetensors", f"{newest(tmp_path / 'whole')}/model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def newest(run_dir: Path) -> str:
    return str(max((run_dir / "checkpoints").iterdir()).relative_to(run_dir))


def test_lines_after_the_checkpoint_are_cut(photos: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(photos)
    go(recipe, "runtime.max_steps=4", out=tmp_path / "a")
    with (tmp_path / "a/metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 5, "loss": 9}\n{"kind": "st')
    go(recipe, out=tmp_path / "a", resume=True)
    steps = [r["step"] for r in lines(tmp_path / "a", "step")]
    assert steps == list(range(1, len(steps) + 1))


def test_a_resume_with_another_recipe_names_the_keys(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), "runtime.max_steps=2", out=tmp_path / "a")
    with pytest.raises(RecipeError, match=r"optim\.lr"):
        go(tiny_recipe(photos), "optim.lr=0.1", "runtime.threads=1", out=tmp_path / "a", resume=True)


def test_a_packed_recipe_in_a_folder_is_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run to resume in .*nothing"):
        sslkit.run("methods/byol", out=tmp_path / "nothing", resume=True)
    with pytest.raises(RunError, match=r"there is no run in methods/bjol"):
        sslkit.run("methods/bjol", out=tmp_path / "nothing", resume=True)


def test_a_damaged_checkpoint_is_passed_over_on_resume(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), out=tmp_path / "whole")
    go(tiny_recipe(photos), "runtime.max_steps=6", out=tmp_path / "a")
    model = sorted((tmp_path / "a/checkpoints").iterdir())[-1] / "model.safetensors"
    model.write_bytes(b"broken")
    go(tiny_recipe(photos), out=tmp_path / "a", resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "whole")


def test_a_loss_that_explodes_fails_with_the_last_good_checkpoint(photos: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(photos, optim={"lr": 1e30, "clip": {"mode": "none"}, "warmup_epochs": 1})
    with pytest.raises(RunError, match="loss became"):
        go(recipe, "checkpoint.every_steps=1", out=tmp_path / "a")
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "failed"
    assert "loss became" in record["error"]
    failed_at = lines(tmp_path / "a", "step")[-1]
    assert failed_at["loss"] is None
    kept = [int(p.name[5:]) for p in (tmp_path / "a/checkpoints").iterdir()]
    assert kept
    assert max(kept) < failed_at["step"]


def test_images_without_labels_train_and_the_skip_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "flat", labelled=False)
    sslkit.run(tiny_recipe(photos), out=tmp_path / "a")
    assert lines(tmp_path / "a", "eval") == []
    printed = capsys.readouterr().out
    assert printed.count("knn is skipped: it needs labels") == 1


def test_broken_images_are_replaced_counted_and_listed(photos: Path, tmp_path: Path) -> None:
    (photos / "red/broken.jpg").write_bytes(b"no picture")
    go(tiny_recipe(photos, data={"max_broken": 0.5}), out=tmp_path / "a")
    listed = [json.loads(line) for line in (tmp_path / "a/skipped.jsonl").read_text().splitlines()]
    assert [entry["key"].endswith("broken.jpg") for entry in listed] == [True]
    assert listed[0]["reason"]


def test_a_broken_image_can_stop_the_run(photos: Path, tmp_path: Path) -> None:
    (photos / "red/broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        go(tiny_recipe(photos, data={"on_error": "stop"}), out=tmp_path / "a")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=nowhere", "nowhere"),
        ("optim.batch_size=64", "optim.batch_size="),
        ("optim.accumulate=3", "must divide the batch of 4"),
        ("data.channels=1", "augment"),
        ("augment.local_size=7", "patches of 4"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    photos: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(sslkit.errors.SslkitError, match=message):
        go(tiny_recipe(photos), override, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_grey_images_train_without_the_colour_operations(photos: Path, tmp_path: Path) -> None:
    words = ["data.channels=1", "augment.color_jitter.p=0", "augment.grayscale.p=0", "runtime.max_steps=2"]
    assert go(tiny_recipe(photos), *words, out=tmp_path / "a").status == "finished"


def test_a_run_can_be_evaluated_again(photos: Path, tmp_path: Path) -> None:
    result = go(tiny_recipe(photos), out=tmp_path / "a")
    found = sslkit.run.evaluate_run(tmp_path / "a")  # type: ignore[attr-defined]
    assert found["knn"].metrics["top1_k3"] == result.metrics["knn/top1_k3"]
    evals = lines(tmp_path / "a", "eval")
    assert evals[-1] == evals[-2]
    Image.new("RGB", (16, 16)).save(
        photos / "red/new.png"
    )  # other data: another result may come, none is lost
    first = sorted((tmp_path / "a/checkpoints").iterdir())[0]
    assert sslkit.run.evaluate_run(first)["knn"].metrics  # type: ignore[attr-defined]


def test_the_backbone_starts_from_given_weights(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), "runtime.max_steps=2", out=tmp_path / "a")
    words = [f"backbone.weights={tmp_path / 'a'}", "runtime.max_steps=1"]
    go(tiny_recipe(photos), *words, out=tmp_path / "b")
    last = lines(tmp_path / "a", "eval")[-1]["metrics"]
    assert lines(tmp_path / "b", "eval")[0]["metrics"] == last


def test_weights_of_another_network_are_refused(photos: Path, tmp_path: Path) -> None:
    go(tiny_recipe(photos), "runtime.max_steps=1", out=tmp_path / "a")
    words = [f"backbone.weights={tmp_path / 'a'}", "backbone.args.depth=1"]
    with pytest.raises(RunError, match="does not fit the backbone"):
        go(tiny_recipe(photos), *words, out=tmp_path / "b")


def test_a_new_run_from_a_checkpoint_of_another(photos: Path, tmp_path: Path) -> None:
    """With its weights and its step, and a change that a resume refuses; itself resumed exactly."""
    recipe = tiny_recipe(photos)
    first = sslkit.run(recipe, out=tmp_path / "a", quiet=True).run_dir
    start = first / "checkpoints" / "step-00000010"
    change = ["method.center_momentum=0.5"]
    whole = sslkit.run(recipe, change, out=tmp_path / "b", start=start, quiet=True).run_dir
    assert [r["step"] for r in lines(whole, "step")] == [11, 12]
    assert lines(whole, "eval")[0]["step"] == 10
    record = json.loads((whole / "run.json").read_text())
    assert record["forked_from"] == str(start)
    sslkit.run(recipe, [*change, "runtime.max_steps=11"], out=tmp_path / "c", start=start, quiet=True)
    sslkit.run(recipe, change, out=tmp_path / "c", resume=True, quiet=True)
    assert learned(lines(tmp_path / "c", "step")) == learned(lines(whole, "step"))


def test_no_run_starts_from_what_is_no_checkpoint(photos: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(photos)
    with pytest.raises(RunError, match=r"no sound checkpoint: state\.json is missing"):
        sslkit.run(recipe, out=tmp_path / "b", start=tmp_path / "nothing", quiet=True)
    assert not (tmp_path / "b").exists()
    first = sslkit.run(recipe, out=tmp_path / "a", quiet=True).run_dir
    with pytest.raises(RunError, match="stands at step 12, but the run ends at step 12"):
        sslkit.run(recipe, out=tmp_path / "b", start=first / "checkpoints" / "step-00000012", quiet=True)
    with pytest.raises(RunError, match="either goes on"):
        sslkit.run(recipe, out=tmp_path / "a", start=first, resume=True, quiet=True)


def test_the_doctor_says_the_same_after_a_resume(photos: Path, tmp_path: Path) -> None:
    """Also where few steps are logged: what it remembers is in the checkpoint."""
    recipe = tiny_recipe(photos, optim={"epochs": 20}, runtime={"log_every": 7, "threads": 1})
    recipe["eval"] = {"resize": 16, "crop": 16, "every_epochs": None, "evaluators": {"knn": None}}
    words = ["method.center_momentum=1", "method.teacher_temperature=0.001"]
    whole = go(recipe, *words, out=tmp_path / "a").run_dir
    go(recipe, *words, "runtime.max_steps=55", out=tmp_path / "b")
    go(recipe, *words, out=tmp_path / "b", resume=True)
    told = [[r for r in lines(run, "health") if r["step"] > 55] for run in (whole, tmp_path / "b")]
    for record in (*told[0], *told[1]):
        record.pop("command", None)
    assert told[0] == told[1]
    assert told[0]
