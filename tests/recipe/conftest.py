"""A recipe that names the components of `toy_plugin.py` beside it."""

import shutil
from pathlib import Path

import pytest

TOY = """\
sslkit: 1
name: toy_run
plugins: [./toy_plugin.py]
method: {name: toy, width: 4, temperature: 0.2}
backbone: {name: toy_net}
augment:
  name: toy_views
  size: 24
  color_jitter: {p: 0.3, hue: 0.2}
data: {name: toy_data, count: 7, split: all}
optim:
  batch_size: 4
  lr: 1e-3
eval: {resize: 32, crop: 32, evaluators: {knn: null, toy_eval: {k: [3]}}}
variants:
  wide:
    method: {width: 64}
    optim.lr: 0.5
  swap:
    method: {name: other, queue: 9}
default_variant: null
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The file of the recipe above, with its plugin."""
    shutil.copy(Path(__file__).parent / "toy_plugin.py", tmp_path / "toy_plugin.py")
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(TOY)
    return recipe
