import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import sslkit

NAMES = (
    *("Augmentation", "Backbone", "Dataset", "Evaluator", "Method", "ParameterGroup", "Progress", "Result"),
    *("Sample", "Setup", "StepOutput", "Tokens", "Tracker", "Views", "hookimpl", "load_backbone"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_plugin_authors_need_is_at_the_top(name: str) -> None:
    value = getattr(sslkit, name)
    home = importlib.import_module(sslkit._HOME_OF[name])
    assert value is getattr(home, name)
    assert name in dir(sslkit)


def test_names() -> None:
    assert set(sslkit.__all__) == {*NAMES, "run", "__version__"}
    assert sslkit.__version__ == version("sslkit")
    with pytest.raises(AttributeError, match="no attribute 'trainer'"):
        _ = sslkit.trainer


def test_the_package_is_typed() -> None:
    assert Path(sslkit.__file__).with_name("py.typed").is_file()


def in_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = in_python(
        "import sys, sslkit, sslkit.cli\n"
        "print(*({'torch', 'timm', 'kornia', 'yaml', 'numpy', 'matplotlib'} & {*sys.modules}))"
    )
    assert heavy.split() == []


ORDERS = {
    "the name alone": "import sslkit",
    "the module first": "import sslkit.run; import sslkit",
    "the name, then the module": "import sslkit; sslkit.run; import sslkit.run",
    "from the package": "import sslkit; from sslkit import run; assert callable(run)",
    "another module that imports it": "import sslkit; from sslkit.run import evaluate_run",
}


FAST = ("the name alone", "the module first")


@pytest.mark.parametrize(
    "order",
    [pytest.param(o, id=n, marks=() if n in FAST else pytest.mark.slow) for n, o in ORDERS.items()],
)
def test_run_can_be_called_whatever_was_imported(order: str) -> None:
    found = in_python(
        f"{order}\n"
        "try:\n"
        "    sslkit.run('there_is_no_such_recipe')\n"
        "except sslkit.errors.RecipeError as error:\n"
        "    print(error)\n"
        "assert callable(sslkit.run.evaluate_run)\n"
    )
    assert "there_is_no_such_recipe" in found
