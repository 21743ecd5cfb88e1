"""An executor that conforms, and for each check one that does not."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RunError


@dataclass
class Nothing:
    """No settings."""


class Plain(Executor):
    """One job after another; the mistakes below inherit from it."""

    Config = Nothing

    def __init__(self, config: Nothing, resources: Resources) -> None:
        self.most = 1
        self.waiting: list[Job] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.over: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self.waiting += jobs
        self.ended()

    def ended(self) -> Mapping[str, str]:
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                del self.running[name]
                self.over[name] = self.told(process.returncode)
        while self.waiting and len(self.running) < self.most:
            job = self.waiting.pop(0)
            try:
                self.running[job.name] = self.begun(job)
            except OSError as error:
                self.over[job.name] = str(error)
        return self.over

    def told(self, code: int) -> str:
        return f"exit code {code}" if code else ""

    def begun(self, job: Job) -> "subprocess.Popen[bytes]":
        with job.log.open("ab") as log:
            return subprocess.Popen(job.command, stdout=log, stderr=log, start_new_session=True)

    def stop(self) -> None:
        self.waiting.clear()
        for process in self.running.values():
            process.terminate()
        self.wait()

    def wait(self) -> None:
        while self.running:
            time.sleep(0.02)
            self.ended()


class HasNoCluster(Plain):
    def __init__(self, config: Nothing, resources: Resources) -> None:
        raise RunError("there is no sbatch here\n  run it on a login node")


class WantsMore(Plain):
    def __init__(self, config: Nothing, resources: Resources, queue: str) -> None:
        super().__init__(config, resources)


class CallsAFailureASuccess(Plain):
    def told(self, code: int) -> str:
        return ""


class ThrowsErrorsAway(Plain):
    def begun(self, job: Job) -> "subprocess.Popen[bytes]":
        with job.log.open("ab") as log:
            return subprocess.Popen(
                job.command, stdout=log, stderr=subprocess.DEVNULL, start_new_session=True
            )


class BeginsTheLastFirst(Plain):
    def start(self, jobs: Sequence[Job]) -> None:
        super().start(jobs[::-1])


class BeginsAll(Plain):
    def __init__(self, config: Nothing, resources: Resources) -> None:
        super().__init__(config, resources)
        self.most = 100


class StopsWithoutMercy(Plain):
    def stop(self) -> None:
        self.waiting.clear()
        for process in self.running.values():
            process.kill()
        self.wait()


class AsksUntilItEnds(Plain):
    def stop(self) -> None:
        self.waiting.clear()
        while self.running:
            for process in self.running.values():
                process.terminate()
            time.sleep(0.1)
            self.ended()


class StopsAndGoesOn(Plain):
    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        self.wait()


class ForgetsWhatItKills(Plain):
    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()


class SaysThatItKills(Plain):
    def __init__(self, config: Nothing, resources: Resources) -> None:
        super().__init__(config, resources)
        self.left: list[subprocess.Popen[bytes]] = []

    def kill(self) -> None:
        for process in self.left:  # when the kit has ended them
            process.wait()
        self.left = [*self.running.values()]
        self.over.update(dict.fromkeys(self.running, "killed"))
        self.running.clear()
