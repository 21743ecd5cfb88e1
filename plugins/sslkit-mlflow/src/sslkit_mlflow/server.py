"""The run on MLflow's side: found or made, told of, ended."""

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

from sslkit.errors import RecipeError, indented

Point = tuple[str, float, int]
"""Name, value and step of one measured number."""


class Experiment:
    """Where runs are filed, on a server that answers.

    Args:
        tracking_uri: as MLflow takes it; None: what MLFLOW_TRACKING_URI says, or MLflow's default.
        name: of the experiment, which is made if there is none.

    Raises:
        RecipeError: the server does not answer, or not as it should; it is asked twice, not for minutes.
    """

    def __init__(self, tracking_uri: str | None, name: str) -> None:
        from mlflow import MlflowClient, get_tracking_uri

        self.name = name
        self.address = tracking_uri or get_tracking_uri()
        with _environment("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), self._explained():
            self.client: Any = MlflowClient(tracking_uri)
            self.id = self._found_or_made()

    def run(self, run_id: str) -> "ServerRun | None":
        """The run of that id, to go on with; None if it is not there any more."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found.info.lifecycle_stage == "deleted":
            return None
        self.client.update_run(run_id, status="RUNNING")
        last = {metric.key: metric.step for metric in found.data.to_proto().metrics}
        return ServerRun(self.client, run_id, last, set(found.data.params))

    def new_run(self, name: str) -> "ServerRun":
        """A run that nothing is known of yet."""
        made = self.client.create_run(self.id, run_name=name)
        return ServerRun(self.client, made.info.run_id, {}, set())

    def _found_or_made(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            try:
                return str(self.client.create_experiment(self.name))
            except MlflowException:
                found = self.client.get_experiment_by_name(self.name)
                if found is None:  # else another run of a study was quicker
                    raise
        if found.lifecycle_stage == "deleted":
            advice = f"restore it (mlflow experiments restore -x {found.experiment_id}), or choose another"
            raise RecipeError(f"the experiment '{self.name}' on {self.address} is deleted{indented(advice)}")
        return str(found.experiment_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, ImportError, OSError) as error:
            told = " ".join(str(error).split())
            raise RecipeError(
                f"the tracker mlflow cannot use {self.address}: {told}{indented(_ADVICE)}"
            ) from error


_ADVICE = (
    "start the server (mlflow server), name another (tracking_uri of the tracker, or MLFLOW_TRACKING_URI), "
    "or go on without it: trackers=[]"
)


class ServerRun:
    """One run on the server.

    Args:
        last: step of the newest value that the server has, by name.
        parameters: names of those that the server has; MLflow never changes one.
    """

    def __init__(self, client: Any, run_id: str, last: Mapping[str, int], parameters: Set[str]) -> None:
        self.client, self.id = client, run_id
        self._last, self._parameters = dict(last), parameters

    def lacks(self, name: str, step: int) -> bool:
        """Whether no value of that name was told for that step or a later one; then it counts as told."""
        if step <= self._last.get(name, -1):
            return False
        self._last[name] = step
        return True

    def measure(self, points: Sequence[Point]) -> None:
        """Numbers of steps."""
        from mlflow.entities import Metric

        now = int(time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in points]
        self.client.log_batch(self.id, metrics=metrics)

    def describe(self, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Parameters that the server lacks, and tags, which replace older ones."""
        from mlflow.entities import Param, RunTag

        new = [Param(name, value) for name, value in parameters.items() if name not in self._parameters]
        self.client.log_batch(self.id, params=new, tags=[RunTag(*tag) for tag in tags.items()])

    def keep(self, path: Path, folder: str | None = None) -> None:
        """Store a file as an artifact."""
        self.client.log_artifact(self.id, str(path), folder)

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        with _environment("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"):
            self.client.set_terminated(self.id, status)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """For what MLflow takes from nowhere else; what the user has set stays."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
