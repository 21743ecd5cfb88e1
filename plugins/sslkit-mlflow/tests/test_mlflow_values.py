import math

import yaml
from sslkit_mlflow.values import allowed, measured, parameters, verdict

STEP = {"kind": "step", "step": 3, "epoch": 0, "loss": 1.5, "lr": 0.1}
KNN = {"kind": "eval", "step": 3, "evaluator": "knn", "dataset": "demo", "metrics": {"top1_k20": 0.5}}


def test_numbers_are_named_by_who_measured_them() -> None:
    assert measured(STEP) == {"train/epoch": 0.0, "train/loss": 1.5, "train/lr": 0.1}
    assert measured(KNN) == {"knn/top1_k20": 0.5}


def test_what_is_not_finite_or_no_number_is_left_out() -> None:
    odd = {"a": math.nan, "b": -math.inf, "c": None, "d": [1.0], "e": 2}
    assert measured({"kind": "step", "step": 1, **odd}) == {"train/e": 2.0}
    assert measured({**KNN, "metrics": odd}) == {"knn/e": 2.0}


def test_other_records_hold_no_numbers() -> None:
    assert measured({"kind": "start", "start_step": 0, "parameters": 7}) == {}
    assert measured({"kind": "note", "text": "x"}) == {}


RECIPE = """
name: a
trackers: [{name: mlflow, tracking_uri: "http://secret@host"}]
expect: {metrics: {knn.top1: [0, 1]}}
method: {name: dino, out_dim: 128, warm: true, weights: null}
augment: {blur: {p: [1.0, 0.1]}, extra: []}
backbone: {args: {}}
optim: {min_lr: 1.0e-6}
"""


def test_a_recipe_is_flat_without_what_is_no_parameter() -> None:
    assert parameters(yaml.safe_load(RECIPE)) == {
        "name": "a",
        "method.name": "dino",
        "method.out_dim": "128",
        "method.warm": "true",
        "method.weights": "null",
        "augment.blur.p": "[1.0, 0.1]",
        "augment.extra": "[]",
        "backbone.args": "{}",
        "optim.min_lr": "1e-06",
    }


def test_a_verdict_is_one_line() -> None:
    assert verdict({"verdict": "collapsed", "cause": "uniform", "advice": None}) == "collapsed: uniform"


def test_names_keep_to_what_mlflow_takes() -> None:
    assert allowed("train/loss@1 (a).b-c:d") == "train/loss_1 _a_.b-c:d"
