"""Where a run goes, and that nothing is ever overwritten."""

import json
from pathlib import Path

import pytest

from sslkit.errors import RunError
from sslkit.train.rundir import RunDirectory, choose_directory, claim


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_run(path: Path, **record: object) -> RunDirectory:
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("name: x\n")
    (path / "run.json").write_text(json.dumps(record))
    return RunDirectory(path)


def test_the_next_free_name_is_taken() -> None:
    assert choose_directory("x", None, resume=False).path == Path("runs/x")
    a_run(Path("runs/x"))
    a_run(Path("runs/x-2"))
    assert choose_directory("x", None, resume=False).path == Path("runs/x-3")


def test_a_directory_with_a_run_is_refused_with_both_ways_out() -> None:
    a_run(Path("a"), status="finished", step=2400)
    with pytest.raises(RunError, match=r"finished, 2,400 steps.*\n.*--resume.*--out"):
        choose_directory("x", "a", resume=False)


def test_a_directory_with_other_files_is_refused() -> None:
    Path("a").mkdir()
    Path("a/photo.jpg").touch()
    with pytest.raises(RunError, match="holds other files"):
        choose_directory("x", "a", resume=False)


def test_an_empty_directory_is_taken() -> None:
    Path("a").mkdir()
    assert choose_directory("x", "a", resume=False).path == Path("a")


def test_resume_without_a_run_says_so() -> None:
    with pytest.raises(RunError, match="no run to resume in runs/x"):
        choose_directory("x", None, resume=True)


def test_resume_finds_the_newest_of_the_name() -> None:
    a_run(Path("runs/x"))
    newest = a_run(Path("runs/x-2"))
    (newest.path / "run.json").write_text("{}")
    assert choose_directory("x", None, resume=True) == newest


def test_the_record_is_changed_and_never_half_written() -> None:
    directory = a_run(Path("a"), status="running")
    directory.update_record(status="finished", step=3)
    assert directory.read_record() == {"status": "finished", "step": 3}
    assert not list(Path("a").glob(".*.tmp"))


def test_a_skipped_file_is_listed_once() -> None:
    directory = a_run(Path("a"))
    for reason in ("first", "again"):
        directory.list_skipped("ü.jpg", reason)
    assert directory.skipped_keys() == {"ü.jpg"}
    assert len(directory.skipped.read_text("utf-8").splitlines()) == 1


def test_two_runs_that_start_at_once_get_folders_of_their_own() -> None:
    first, second = (choose_directory("x", None, resume=False) for _ in range(2))
    assert first == second
    assert [claim(d, free_name=True).path for d in (first, second)] == [Path("runs/x"), Path("runs/x-2")]
    Path("file").touch()
    with pytest.raises(RunError, match="cannot create"):
        claim(RunDirectory(Path("file/x")), free_name=False)


def test_a_file_is_no_run_directory() -> None:
    Path("a").touch()
    with pytest.raises(RunError, match="a is a file"):
        choose_directory("x", "a", resume=False)


def test_resume_takes_no_other_name(tmp_path: Path) -> None:
    a_run(Path("runs/x_other"))
    with pytest.raises(RunError, match="no run to resume"):
        choose_directory("x", None, resume=True)


def test_a_half_written_line_of_skipped_files_is_passed_over() -> None:
    directory = a_run(Path("a"))
    directory.list_skipped("b.jpg", "why")
    with directory.skipped.open("a") as file:
        file.write('{"key": "c.j')
    assert directory.skipped_keys() == {"b.jpg"}
