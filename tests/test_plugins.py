"""All three doors, conflicts, refusals and broken plugins, with real files and a real installed package."""

import importlib
import subprocess
import sys
from pathlib import Path

import pluggy
import pytest

from sslkit import catalog, hookspecs
from sslkit.errors import PluginError
from sslkit.plugins import KINDS, PluginInfo, Registry, resolve, saved_names

HEAD = "from dataclasses import dataclass\nfrom sslkit.hookspecs import hookimpl\n"


def method_source(name: str, *, extra: str = "") -> str:
    return (
        f"{HEAD}\n@dataclass\nclass Config:\n    width: int = 1\n\n"
        "class Toy:\n    Config = Config\n\n"
        f"@hookimpl\ndef sslkit_methods():\n    return {{'{name}': Toy}}\n{extra}"
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, package: str, version: str, source: str, *, entry: str = "toy", requires: str = ""
    ) -> None:
        module = package.replace("-", "_")
        write(self.folder / f"{module}.py", source)
        info = self.folder / f"{module}-{version}.dist-info"
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        write(info / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{needs}")
        write(info / "entry_points.txt", f"[sslkit]\n{entry} = {module}\n" if entry else "")
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("SSLKIT_PLUGINS_ALLOW", raising=False)
    return Site(folder)


def info(registry: Registry, name: str) -> PluginInfo:
    return next(p for p in registry.plugins if p.name == name)


def test_built_ins_are_found_by_walking_and_none_fails() -> None:
    registry = Registry.load(allow="")
    assert info(registry, "sslkit.methods.dino").components == {"methods": ["dino"]}
    assert registry.get("methods", "dino").__name__ == "DINO"
    assert {p.origin for p in registry.plugins if p.status == "loaded"} == {"built-in"}
    assert [p for p in registry.plugins if p.status == "failed"] == []


def test_learning_the_names_imports_no_heavy_library() -> None:
    code = (
        "import sys; from sslkit.plugins import Registry; Registry.load(allow='');"
        "print([m for m in ('kornia', 'timm', 'sklearn', 'skimage', 'pyarrow', 'matplotlib', 'torchmetrics',"
        "'rich', 'wandb', 'tensorboard') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_is_loaded_from_the_base_folder(tmp_path: Path) -> None:
    write(tmp_path / "mine.py", method_source("mine"))
    registry = Registry.load(["./mine.py"], base=tmp_path)
    found = info(registry, "mine.py")
    assert registry.get("methods", "mine").Config().width == 1
    assert registry.names("methods")["mine"] == "mine.py"
    assert (found.origin, found.version, found.file) == ("file", None, str(tmp_path / "mine.py"))
    assert found.sha256 is not None
    assert len(found.sha256) == 64


def test_a_file_counts_from_the_current_folder_without_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here.py", method_source("here"))
    monkeypatch.chdir(tmp_path)
    assert "here" in Registry.load(["here.py"]).names("methods")


def test_a_file_may_postpone_its_annotations(tmp_path: Path) -> None:
    source = "from __future__ import annotations\n" + method_source("later")
    registry = Registry.load([str(write(tmp_path / "later.py", source))])
    assert registry.get("methods", "later").Config.__module__ in sys.modules


def test_a_changed_file_is_another_plugin(tmp_path: Path) -> None:
    path = write(tmp_path / "changing.py", method_source("one"))
    first = Registry.load([str(path)])
    path.write_text(method_source("two"))  # as many bytes, the same second
    second = Registry.load([str(path)])
    assert "one" in first.names("methods")
    assert "two" in second.names("methods")
    assert "one" not in second.names("methods")


def test_the_same_content_at_two_places_is_one_plugin(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "same.py", method_source("same")) for folder in "ab"]
    registry = Registry.load([str(p) for p in paths])
    assert registry.get("methods", "same")
    assert [p.name for p in registry.plugins].count("same.py") == 1


def test_an_installed_package_is_found_with_its_version(site: Site) -> None:
    site.install("toy-installed", "1.2", method_source("installed"))
    registry = Registry.load()
    found = info(registry, "toy-installed")
    assert (found.version, found.origin, found.components) == ("1.2", "package", {"methods": ["installed"]})
    assert registry.get("methods", "installed")


def test_a_version_demand_that_is_met(site: Site) -> None:
    site.install("toy-met", "0.3", method_source("met"))
    assert "met" in Registry.load(["toy-met>=0.1,<1"]).names("methods")
    site.install("toy-early", "0.4.dev1", method_source("early"))
    assert "early" in Registry.load(["toy-early>=0.3"]).names("methods")


@pytest.mark.parametrize(
    ("demand", "told"),
    [
        ("toy-demand>=0.5", "toy-demand 0.3 is installed"),
        ("toy-absent>=0.5", "'toy-absent' is not installed"),
        ("toy-demand @ https://example.org/x.whl", "more than a name and a version range"),
        ("toy demand", "names no plugin"),
        ("pluggy>=1", "no entry point in group 'sslkit'"),
    ],
)
def test_a_version_demand_that_is_not_met(site: Site, demand: str, told: str) -> None:
    site.install("toy-demand", "0.3", method_source("demanded"))
    with pytest.raises(PluginError, match=told):
        Registry.load([demand])


def test_a_missing_file_is_told_with_the_full_path(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=f"(?s)'./nix.py' does not exist.*{tmp_path / 'nix.py'}"):
        Registry.load(["./nix.py"], base=tmp_path)
    with pytest.raises(PluginError, match="is a folder"):
        resolve("./", tmp_path)


def test_allow_keeps_others_out_unimported(site: Site, tmp_path: Path) -> None:
    site.install("toy-friend", "1", method_source("friend"))
    site.install("toy-stranger", "1", f"raise SystemExit('{site.folder}')\n")
    registry = Registry.load(allow="toy-friend, other")
    assert "friend" in registry.names("methods")
    assert info(registry, "toy-stranger").status == "not allowed"
    assert "toy_stranger" not in sys.modules
    with pytest.raises(PluginError, match="is not allowed"):
        Registry.load(["toy-stranger"], allow="toy-friend")


def test_allow_is_read_from_the_environment_and_files_go_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "trusted.py", method_source("trusted")))
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "trusted.py")
    assert "trusted" in Registry.load([path]).names("methods")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "")
    with pytest.raises(PluginError, match=r"(?s)trusted.py.*SSLKIT_PLUGINS_ALLOW does not name it"):
        Registry.load([path])
    assert "dino" in Registry.load().names("methods")


def test_allow_takes_patterns(site: Site, tmp_path: Path) -> None:
    site.install("toy-pattern", "1", method_source("of_a_package"))
    path = str(write(tmp_path / "single.py", method_source("of_a_file")))
    found = {"of_a_package", "of_a_file"}
    for allow, wanted in {"*.py": {"of_a_file"}, "toy-*,*.py": found, "*": found}.items():
        registry = Registry.load([path], allow=allow)
        assert found & set(registry.names("methods")) == wanted, allow
    with pytest.raises(PluginError, match="is not allowed"):
        Registry.load([path], allow="toy_*")


@pytest.mark.parametrize("allow", ["sslkit-glom", "sslkit-*", "sslkit-evil-py", "sslkit_evil"])
def test_what_allows_a_package_allows_no_file(tmp_path: Path, allow: str) -> None:
    for name in ("sslkit-glom", "sslkit_evil.py"):
        path = write(tmp_path / name, "raise SystemExit('it was executed')")
        with pytest.raises(PluginError, match=r"is not allowed|its name must end in \.py"):
            Registry.load([f"./{name}"], base=path.parent, allow=allow)


@pytest.mark.parametrize("allow", ["toy-trusted", "*.py", "toy-evil.py", "*:toy-trusted"])
@pytest.mark.parametrize("package", ["toy-evil", "toy-evil-py"])
def test_a_package_is_allowed_by_its_own_name_alone(site: Site, package: str, allow: str) -> None:
    site.install(package, "1", "raise SystemExit('it was imported')", entry="toy-trusted")
    assert info(Registry.load(allow=allow), package).status == "not allowed"
    assert info(Registry.load(allow=package.upper()), package).status == "failed"


def test_a_file_is_allowed_by_its_name_or_its_path(tmp_path: Path) -> None:
    path = write(tmp_path / "Own_one.py", method_source("own_one"))
    for allow in ("Own_one.py", "Own_*.py", "*", str(path), f"{tmp_path}/*"):
        assert "own_one" in Registry.load([str(path)], allow=allow).names("methods")
    for allow in ("own-one.py", "Own_one", "/elsewhere/Own_one.py", "./Own_one.py"):
        with pytest.raises(PluginError, match="is not allowed"):
            Registry.load([str(path)], allow=allow)


@pytest.mark.parametrize("name", ["toy-unwanted", "Toy_Unwanted", "entry"])
def test_a_plugin_is_left_out_by_any_of_its_names(site: Site, name: str) -> None:
    site.install("toy-unwanted", "1", method_source("unwanted"), entry="entry")
    registry = Registry.load(blocked=[name])
    assert info(registry, "toy-unwanted").status == "left out"
    assert "unwanted" not in registry.names("methods")
    with pytest.raises(PluginError, match=r"(?s)asked for.*left out.*--no-plugin"):
        Registry.load(["toy-unwanted"], blocked=[name])


def test_leaving_out_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(
        PluginError, match=r"(?s)no plugin 'sslkit.methods.dyno'.*did you mean 'sslkit.methods.dino'"
    ):
        Registry.load(blocked=["sslkit.methods.dyno"])


def test_a_conflict_is_told_only_when_the_name_is_asked_for(tmp_path: Path) -> None:
    other = "\n@hookimpl\ndef sslkit_backbones():\n    return {'rival_net': Toy}\n"
    path = str(write(tmp_path / "rival.py", method_source("dino", extra=other)))
    registry = Registry.load([path])
    assert registry.get("backbones", "rival_net")
    with pytest.raises(PluginError) as caught:
        registry.get("methods", "dino")
    told = str(caught.value)
    assert "sslkit.methods.dino (built-in)" in told
    assert path in told
    assert "--no-plugin sslkit.methods.dino or --no-plugin rival.py" in told
    chosen = Registry.load([path], blocked=["sslkit.methods.dino"])
    assert chosen.get("methods", "dino").__name__ == "Toy"


def test_an_unknown_name_is_told_with_the_nearest_and_where_each_is_from(tmp_path: Path) -> None:
    path = str(write(tmp_path / "own.py", method_source("own_method")))
    with pytest.raises(PluginError) as caught:
        Registry.load([path]).get("methods", "dyno")
    told = str(caught.value)
    assert told.startswith(
        "'method.name' is 'dyno', which no plugin provides\n  did you mean 'dino'?  methods: "
    )
    assert "own_method (own.py)" in told
    assert "dino," in told


def test_every_kind_has_a_hook() -> None:
    registry = Registry.load()
    for kind in KINDS:
        with pytest.raises(PluginError, match="no plugin provides"):
            registry.get(kind, "there is no such name")


BROKEN = {
    "import": (
        "import no_such_module_at_all\n",
        "ModuleNotFoundError: No module named 'no_such_module_at_all'",
    ),
    "syntax": ("def f(:\n", "SyntaxError"),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "unknown hook": (f"{HEAD}@hookimpl\ndef sslkit_method():\n    return {{}}\n", "no hook 'sslkit_method'"),
    "other name": (f"{HEAD}@hookimpl\ndef methods():\n    return {{}}\n", "unknown hook 'methods'"),
    "argument": (f"{HEAD}@hookimpl\ndef sslkit_run_finished(folder):\n    pass\n", "folder"),
    "undecorated": (f"{HEAD}def sslkit_methods():\n    return {{}}\n", "lacks the decorator @hookimpl"),
    "raises": (f"{HEAD}@hookimpl\ndef sslkit_methods():\n    return {{}}['x']\n", "KeyError: 'x'"),
    "no mapping": (f"{HEAD}@hookimpl\ndef sslkit_methods():\n    return ['x']\n", "returned a list"),
    "no class": (f"{HEAD}@hookimpl\ndef sslkit_methods():\n    return {{'x': 3}}\n", "'x': 3"),
    "no config": (f"{HEAD}@hookimpl\ndef sslkit_methods():\n    return {{'x': str}}\n", "no `Config`"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_package_is_named_and_takes_nobody_down(site: Site, fault: str) -> None:
    source, told = BROKEN[fault]
    package = f"toy-broken-{fault.replace(' ', '-')}"
    site.install(package, "1", source)
    site.install("toy-sound", "1", method_source("sound"))
    registry = Registry.load()
    found = info(registry, package)
    assert found.status == "failed"
    assert told in found.detail
    assert "\n" not in found.detail
    assert "Traceback" in found.traceback
    assert {"dino", "sound"} <= set(registry.names("methods"))
    with pytest.raises(PluginError, match=f"{package} is asked for, but cannot be loaded"):
        Registry.load([package])


def test_a_broken_file_stops_who_asked_for_it_and_can_be_mended(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.py", "1 / 0\n")
    for _ in range(2):  # nothing of a failed import stays behind
        with pytest.raises(PluginError, match=r"ZeroDivisionError: .* \(broken.py, line 1\)"):
            Registry.load([str(path)])
    path.write_text(method_source("mended"))
    assert "mended" in Registry.load([str(path)]).names("methods")


@pytest.mark.parametrize("declared", ['"1"', '"1.0"'])
def test_a_plugin_for_this_version_of_the_hooks_is_loaded(site: Site, declared: str) -> None:
    package = f"toy-current-{len(declared)}"
    site.install(package, "1", method_source("current") + f"SSLKIT_API = {declared}\n")
    assert info(Registry.load(), package).status == "loaded"


@pytest.mark.parametrize(
    ("declared", "status", "told"),
    [
        ('"2"', "refused", "built for version 2 of sslkit's hooks, but this sslkit has 1.0: upgrade sslkit"),
        (
            '"1.7"',
            "refused",
            "built for version 1.7 of sslkit's hooks, but this sslkit has 1.0: upgrade sslkit",
        ),
        ('"0.9"', "refused", "take a newer release of the plugin"),
        ("2", "failed", 'SSLKIT_API is 2, but must be a version such as "1" or "1.0"'),
        ('"new"', "failed", "SSLKIT_API is 'new'"),
    ],
)
def test_a_plugin_for_another_version_of_the_hooks_is_refused_in_one_sentence(
    site: Site, declared: str, status: str, told: str
) -> None:
    package = f"toy-other-{sum(map(ord, declared))}"
    site.install(package, "1", method_source("other") + f"SSLKIT_API = {declared}\n")
    registry = Registry.load()
    found = info(registry, package)
    assert (found.status, "other" in registry.names("methods")) == (status, False)
    assert told in found.detail
    with pytest.raises(PluginError, match=f"{package} is asked for, but"):
        Registry.load([package])


@pytest.mark.parametrize(
    ("demand", "status"),
    [("sslkit>=0.1,<1", "loaded"), ("sslkit>=7", "refused"), ('sslkit>=7; extra == "more"', "loaded")],
)
def test_a_package_that_asks_for_another_sslkit_is_refused_unimported(
    site: Site, demand: str, status: str
) -> None:
    package = f"toy-needs-{status}{len(demand)}"
    site.install(package, "1", method_source("needy"), requires=demand)
    found = info(Registry.load(), package)
    assert found.status == status
    assert (package.replace("-", "_") in sys.modules) == (status == "loaded")
    if status == "refused":
        assert found.detail.startswith("it asks for sslkit>=7, but this is sslkit ")


def test_a_hook_that_is_going_away_still_works_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = DeprecationWarning("sslkit_heard goes in 0.3: implement sslkit_run_finished")
    spec = pluggy.HookspecMarker(hookspecs.PROJECT)(warn_on_impl=leaves)
    monkeypatch.setattr(hookspecs, "sslkit_heard", spec(lambda text: None), raising=False)
    heard = tmp_path / "heard"
    body = f"    from pathlib import Path\n    Path({str(heard)!r}).write_text(text)\n"
    source = f"{HEAD}\n@hookimpl\ndef sslkit_heard(text):\n{body}"
    path = write(tmp_path / "old.py", source)
    with pytest.warns(FutureWarning, match=r"plugin old.py: sslkit_heard goes in 0.3") as caught:
        registry = Registry.load([str(path)])
    assert len(caught) == 1
    assert info(registry, "old.py").warnings == [str(leaves)]
    assert f"\nold.py ({path}): {leaves}" in catalog.told(registry)
    registry.notify("sslkit_heard", text="still")
    assert heard.read_text() == "still"


def test_files_are_kept_as_they_were_loaded(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "kept.py", method_source(f"kept_{folder}")) for folder in "ab"]
    registry = Registry.load([str(p) for p in paths])
    paths[0].write_text("changed since")
    saved = registry.save_files(tmp_path / "run")
    assert [p.name for p in saved] == ["kept.py", "kept-2.py"] == list(saved_names(paths).values())
    assert saved[0].read_text() == method_source("kept_a")
    again = Registry.load([str(p) for p in saved])
    assert [p.read_text() for p in again.save_files(tmp_path / "run")] == [
        method_source("kept_a"),
        method_source("kept_b"),
    ]
