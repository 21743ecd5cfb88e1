"""What pip makes of it: recipes inside the wheel, and a plugin that is a package of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from runs import make_photos, sslkit, tiny_recipe

TOP = Path(__file__).parent.parent
SIMSIAM = (TOP / "plugins/sslkit-simsiam/src/sslkit_simsiam/__init__.py").read_text()
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "sslkit-simsiam"
version = "0.3"

[project.entry-points.sslkit]
simsiam = "sslkit_simsiam"
"""

pytestmark = pytest.mark.slow


def install(project: Path, target: Path) -> None:
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, str(project)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_brings_its_recipes_and_templates(tmp_path: Path) -> None:
    install(TOP, tmp_path / "site")
    packed = {p.name for p in (tmp_path / "site/sslkit/_recipes").rglob("*.yaml")}
    assert packed == {p.name for p in (TOP / "recipes").rglob("*.yaml")}
    templates = "sslkit/scaffold/templates"
    assert len(list((tmp_path / "site" / templates).rglob("*.jinja"))) == len(
        list((TOP / templates).rglob("*.jinja"))
    )
    code = "import sslkit; from sslkit.recipe.load import find_recipe; print(find_recipe('dino_vits8'))"
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {[str(tmp_path / 'site')]!r} + {site()!r}\n{code}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(tmp_path / "site/sslkit/_recipes/dino_vits8.yaml"), done.stderr


def site() -> list[str]:
    """Where the packages that sslkit needs are."""
    import torch

    return [str(Path(torch.__file__).parent.parent)]


def test_a_method_in_a_package_is_found_and_runs(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "sslkit_simsiam").mkdir(parents=True)
    (project / "sslkit_simsiam/__init__.py").write_text(SIMSIAM)
    (project / "pyproject.toml").write_text(PROJECT)
    install(project, tmp_path / "site")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    there = {"PYTHONPATH": path, "SSLKIT_PLUGINS_ALLOW": "sslkit-simsiam"}

    recipe = tiny_recipe(make_photos(tmp_path / "photos"), method={"name": "simsiam", "dim": 16})
    recipe["method"] = {"name": "simsiam", "dim": 16}
    recipe["plugins"] = ["sslkit-simsiam>=0.3,<1"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = sslkit("run", "recipe.yaml", "--out", "a", cwd=tmp_path, **there)
    assert done.returncode == 0, done.stderr
    plugins = json.loads((tmp_path / "a/run.json").read_text())["plugins"]
    assert [p["version"] for p in plugins if p["name"] == "sslkit-simsiam"] == ["0.3"]
    listed = sslkit("plugins", cwd=tmp_path, **there)
    assert re.search(r"simsiam +sslkit-simsiam +0\.3 +loaded", listed.stdout)

    done = sslkit("run", "recipe.yaml", "--out", "b", cwd=tmp_path)  # not installed here
    assert done.returncode == 2
    assert 'pip install "sslkit-simsiam>=0.3,<1"' in done.stderr
