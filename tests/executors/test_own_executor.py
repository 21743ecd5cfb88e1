"""The executor of the docs, as they print it."""

from pathlib import Path

from executor_jobs import check_that_one_begins_when_another_ends, saver, start_and_await
from pages import TOP, blocks

from sslkit.core.executor import Executor, Resources
from sslkit.plugins import Registry

PAGE = TOP / "docs/executors.md"
[BEHIND] = [block.text for block in blocks(PAGE, "python") if block.title == "behind.py"]


def of_the_docs(folder: Path) -> Executor:
    path = folder / "behind.py"
    path.write_text(BEHIND)
    cls = Registry.load([str(path)]).get("executors", "behind")
    built: Executor = cls(cls.Config(), Resources())
    return built


def test_it_runs_one_after_another(tmp_path: Path) -> None:
    check_that_one_begins_when_another_ends(of_the_docs(tmp_path), tmp_path, at_a_time=1)


def test_it_stops_when_all_have_saved(tmp_path: Path) -> None:
    stopped, jobs = of_the_docs(tmp_path), [saver(tmp_path, "a"), saver(tmp_path, "b")]
    start_and_await(stopped, jobs, running=jobs[:1])
    stopped.stop()
    assert stopped.ended() == {"a": "exit code 143"}
    assert [path.name for path in tmp_path.glob("*.saved")] == ["a.saved"]


def test_the_page_names_every_key() -> None:
    registry = Registry.load(allow="")
    for name in registry.names("executors"):
        keys = registry.get("executors", name).Config.__dataclass_fields__
        row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}`"))
        assert [key for key in keys if f"`{key}`" not in row] == []
