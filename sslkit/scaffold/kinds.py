"""The kinds of component that a new plugin can be of, and how each is run."""

from dataclasses import dataclass

TRIED = "sslkit run dino_pocket --variant nano"
"""What a new component is tried with: a minute or two on two CPU cores."""


@dataclass(frozen=True)
class Kind:
    """One kind of component; NAME stands for the component's name in what has placeholders."""

    plural: str
    """As a registry and a hook call it."""
    words: str
    """Words that put it into a recipe."""
    after: tuple[str, ...]
    """Commands that show what it did, after a run with it, which keeps a single file."""
    beside: str = ""
    """Further words for a run that ends soon."""
    requires: tuple[str, ...] = ()
    """What its source imports beside sslkit and torch, of what sslkit itself requires."""
    has_sample: bool = False
    """Whether its source can write data to try it on."""


SMALL = "backbone.name=conv_pocket backbone.args.output_stride=8 augment.local_count=0"
"""A network that any method learns with, and two views of an image."""
DINO = f"{TRIED} name=dino_nano"
"""The run that a new component's is compared with."""
COMPARE = "sslkit compare runs/NAME runs/dino_nano"
KINDS = {
    "method": Kind(
        "methods",
        "method.name=NAME",
        (f"{DINO} {SMALL}", COMPARE),
        beside=f" {SMALL}",
    ),
    "backbone": Kind(
        "backbones",
        "backbone.name=NAME",
        (DINO, COMPARE),
    ),
    "augmentation": Kind(
        "augmentations",
        "augment.name=NAME",
        (DINO, COMPARE),
    ),
    "dataset": Kind(
        "datasets",
        "data.name=NAME data.root=NAME_sample",
        ("sslkit eval runs/NAME --on knn",),
        requires=("numpy",),
        has_sample=True,
    ),
    "evaluator": Kind(
        "evaluators",
        "eval.evaluators.NAME={}",
        ("sslkit eval runs/NAME --on NAME",),
        requires=("matplotlib",),
    ),
    "tracker": Kind(
        "trackers",
        "'trackers=[{name: NAME}]'",
        ("head runs/NAME/NAME.csv",),
    ),
}
"""By the word that `sslkit new` takes."""
