"""MLflow for sslkit: the tracker `mlflow`."""

from collections.abc import Mapping

from sslkit import Tracker, hookimpl

SSLKIT_API = "1"


@hookimpl
def sslkit_trackers() -> Mapping[str, type[Tracker]]:
    from sslkit_mlflow.tracker import MLflow

    return {"mlflow": MLflow}
