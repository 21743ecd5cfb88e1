"""Where things are in a study's directory."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Paths inside one study's folder; a run is named ARM-SEED."""

    folder: Path

    @property
    def study(self) -> Path:
        """The study as it was last started: YAML that runs again as it is."""
        return self.folder / "study.yaml"

    @property
    def record(self) -> Path:
        """All results, for programs."""
        return self.folder / "study.json"

    @property
    def page(self) -> Path:
        return self.folder / "study.html"

    @property
    def plugins(self) -> Path:
        """Plugins that are left out, for the workers."""
        return self.jobs / "plugins.json"

    @property
    def jobs(self) -> Path:
        """What the processes write of themselves."""
        return self.folder / "jobs"

    @property
    def lock_of_study(self) -> Path:
        """Held by the command that runs the study; the mark of a study's folder, too."""
        return self.jobs / ".study.lock"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, name: str) -> Path:
        """A run's directory."""
        return self.runs / name

    def recipe(self, name: str) -> Path:
        """A run's recipe, resolved."""
        return self.folder / "recipes" / f"{name}.yaml"

    def told(self, name: str) -> Path:
        """What a run's process last said of itself."""
        return self.jobs / f"{name}.json"

    def log(self, name: str) -> Path:
        """What a run's process printed."""
        return self.jobs / f"{name}.log"

    def lock(self, name: str) -> Path:
        """Held by a run's process."""
        return self.jobs / f".{name}.lock"
