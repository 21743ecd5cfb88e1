"""Plugins that watch runs: one that fails is told once and harms nobody, and what each took is counted."""

import json
from pathlib import Path

import pytest
import yaml
from runs import make_photos, sslkit, tiny_recipe
from test_plugins import HEAD, info, write

from sslkit.plugins import Registry


def watcher(log: Path, *, fails: bool = False) -> str:
    fault = "    raise ValueError('cannot watch')\n" if fails else ""
    return (
        f"{HEAD}\n@hookimpl\ndef sslkit_run_finished(run_dir, error):\n"
        f"    with open({str(log)!r}, 'a') as file:\n        file.write(__file__ + '\\n')\n{fault}"
    )


def test_one_failing_watcher_is_told_once_and_the_others_go_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    bad = str(write(tmp_path / "bad.py", watcher(log, fails=True)))
    good = [str(write(tmp_path / f"good{i}.py", watcher(log) + f"# {i}\n")) for i in range(2)]
    registry = Registry.load([good[0], bad, good[1]], blocked=_built_in_watchers())
    arguments = {"run_dir": tmp_path, "error": None}
    with pytest.warns(RuntimeWarning, match=r"bad.py failed in sslkit_run_finished.*cannot watch"):
        registry.notify("sslkit_run_finished", **arguments)
    registry.notify("sslkit_run_finished", **arguments)  # a second warning would be an error
    assert sorted(log.read_text().split()) == sorted([bad, *good, *good])
    assert info(registry, "bad.py").status == "failed"
    calls = {time["plugin"]: time["calls"] for time in registry.hook_times.as_records()}
    assert calls == {"good0.py": 2, "bad.py": 1, "good1.py": 2}


def test_a_watcher_that_exits_does_not_end_the_run(tmp_path: Path) -> None:
    source = f"{HEAD}\n@hookimpl\ndef sslkit_run_finished(run_dir):\n    raise SystemExit(3)\n"
    registry = Registry.load(
        [str(write(tmp_path / "exits.py", source))], blocked=_built_in_watchers(), allow="exits.py"
    )
    with pytest.warns(RuntimeWarning, match=r"exits.py failed in sslkit_run_finished.*SystemExit: 3"):
        registry.notify("sslkit_run_finished", run_dir=tmp_path, error=None)


def test_the_time_in_hooks_is_counted_over_the_parts_of_a_run(tmp_path: Path) -> None:
    source = f"import time\n{HEAD}\n@hookimpl\ndef sslkit_run_finished(run_dir):\n    time.sleep(0.02)\n"
    path = write(tmp_path / "slow.py", source)
    registry = Registry.load([str(path)], blocked=_built_in_watchers())
    earlier = {"plugin": "slow.py", "hook": "sslkit_run_finished", "calls": 3, "seconds": 100.0}
    registry.hook_times.load([earlier])
    registry.notify("sslkit_run_finished", run_dir=tmp_path, error=None)
    [time] = registry.hook_times.as_records()
    assert (time["plugin"], time["hook"], time["calls"]) == ("slow.py", "sslkit_run_finished", 4)
    assert 100.02 <= time["seconds"] < 110


def _built_in_watchers() -> list[str]:
    """Built-ins that watch would look for a real run."""
    return [p.name for p in Registry.load().plugins if not p.components and p.origin == "built-in"]


FAILS_AT_THE_START = f"""{HEAD}
from pathlib import Path


@hookimpl
def sslkit_run_started(recipe, run_dir):
    raise ValueError(f"cannot watch {{recipe.name}}")


@hookimpl
def sslkit_run_finished(run_dir):
    Path("heard").touch()
"""


@pytest.mark.slow
def test_a_watcher_that_fails_at_the_start_does_not_keep_a_run_from_it(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), runtime={"max_steps": 2})
    write(tmp_path / "tiny.yaml", yaml.safe_dump(recipe))
    write(tmp_path / "fails.py", FAILS_AT_THE_START)
    done = sslkit(
        *("run", "tiny.yaml", "--plugin", "fails.py", "--out", "run"),
        cwd=tmp_path,
        SSLKIT_PLUGINS_ALLOW="fails.py",
    )
    assert done.returncode == 0, done.stderr
    told = "RuntimeWarning: plugin fails.py failed in sslkit_run_started and hears no more of this run"
    assert done.stderr.count(told) == 1
    assert "ValueError: cannot watch tiny (fails.py, line 9)" in done.stderr
    record = json.loads((tmp_path / "run/run.json").read_text())
    calls = {(time["plugin"], time["hook"]): time["calls"] for time in record["hooks"]}
    assert (record["status"], record["step"]) == ("finished", 2)
    assert calls["fails.py", "sslkit_run_started"] == calls["sslkit.report.crops", "sslkit_run_started"] == 1
    assert not (tmp_path / "heard").exists()
