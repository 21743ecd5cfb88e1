"""SLURM's commands, as far as a study needs them, with processes of this machine as nodes.

`install` writes them into a folder for PATH. They keep their queue in `<folder>/queue`: a file for each job,
with its state and the process that stands for its node.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sacct")
ARRAY_JOB = "12"
KILL_WAIT = 1.5
"""Seconds between SIGTERM and SIGKILL."""


def install(folder: Path) -> Path:
    """Write the commands; returns the folder of their queue."""
    queue = folder / "queue"
    queue.mkdir(parents=True)
    for command in COMMANDS:
        script = folder / command
        script.write_text(
            f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from pathlib import Path; from slurm_commands import main\n"
            f"main({command!r}, Path({str(queue)!r}), sys.argv[1:])\n"
        )
        script.chmod(0o755)
    return queue


def main(command: str, queue: Path, words: list[str]) -> None:
    with (queue / f"{command}.calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    {
        "sbatch": sbatch,
        "srun": srun,
        "squeue": squeue,
        "scancel": scancel,
        "scontrol": scontrol,
        "sacct": sacct,
        "node": node,
    }[command](queue, words)


def sbatch(queue: Path, words: list[str]) -> None:
    """Take a script; as many jobs of an array begin as `room` says, or all."""
    if (queue / "refuses").exists():
        sys.exit(f"sbatch: error: {(queue / 'refuses').read_text()}")
    script = Path(words[-1]).read_text()
    (queue / "script.sh").write_text(script)
    (queue / "environment.json").write_text(json.dumps(dict(os.environ)))
    array = re.search(r"^#SBATCH --array=0-(\d+)%", script, re.MULTILINE)
    ids = [f"{ARRAY_JOB}_{i}" for i in range(int(array[1]) + 1)] if array else [ARRAY_JOB]
    room = int((queue / "room").read_text()) if (queue / "room").exists() else len(ids)
    for i, id in enumerate(ids):
        write(queue, id, state="PENDING")
        if i < room:
            begin(queue, id)
    print(f"Submitted batch job {ARRAY_JOB}")


def begin(queue: Path, id: str) -> None:
    """Start the process that stands for a job's node."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path; from slurm_commands import main\n"
        f"main('node', Path({str(queue)!r}), [{id!r}])"
    )
    subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while read(queue, id)["state"] == "PENDING":
        time.sleep(0.02)


def node(queue: Path, words: list[str]) -> None:
    """Run a job's script, and again as often as it is queued again."""
    id = words[0]
    array, _, index = id.partition("_")
    names = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index} if index else {}
    environment = {**os.environ, "SLURM_JOB_ID": array, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", **names}
    again = queue / f"{id}.requeue"
    while True:
        write(queue, id, state="RUNNING", pid=os.getpid())
        subprocess.run(["bash", queue / "script.sh"], env={**environment, "FAKE_ID": id}, check=False)
        if not again.exists():
            break
        again.unlink()
    (queue / f"{id}.job").unlink(missing_ok=True)


def srun(queue: Path, words: list[str]) -> None:
    """Become the task, with its output in the file that is asked for."""
    output = words[words.index("--output") + 1]
    command = words[words.index(sys.executable) :]
    write(queue, os.environ["FAKE_ID"], **{**read(queue, os.environ["FAKE_ID"]), "task": os.getpid()})
    log = os.open(re.sub(r"%[Aajt]", "x", output), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execv(command[0], command)


def squeue(queue: Path, words: list[str]) -> None:
    for path in sorted(queue.glob("*.job")):
        with suppress(FileNotFoundError):
            print(path.stem, read(queue, path.stem)["state"])


def scancel(queue: Path, words: list[str]) -> None:
    """Take jobs out that wait; those that run get SIGTERM, and SIGKILL a while later."""
    only_waiting = "--state=PENDING" in words
    for id in (word for word in words if not word.startswith("--")):
        with suppress(FileNotFoundError):
            job = read(queue, id)
            if job["state"] == "PENDING":
                (queue / f"{id}.job").unlink()
            elif not only_waiting:
                os.kill(job["task"], signal.SIGTERM)
                time.sleep(KILL_WAIT)
                lose(queue, id)


def lose(queue: Path, id: str) -> None:
    """End a job without asking, as a node does that is lost."""
    with suppress(FileNotFoundError, ProcessLookupError):
        job = read(queue, id)
        (queue / f"{id}.job").unlink()
        for process in ("pid", "task"):
            if process in job:
                os.kill(job[process], signal.SIGKILL)


def scontrol(queue: Path, words: list[str]) -> None:
    assert words[0] == "requeue"
    (queue / f"{words[1]}.requeue").touch()


def sacct(queue: Path, words: list[str]) -> None:
    print("JobID|State|NodeList")
    print((queue / "accounts").read_text())


def read(queue: Path, id: str) -> dict[str, Any]:
    """What the queue has of a job: `state`, and once it runs `pid` and `task`."""
    return dict(json.loads((queue / f"{id}.job").read_text()))


def write(queue: Path, id: str, **told: object) -> None:
    aside = queue / f"{id}.tmp"
    aside.write_text(json.dumps(told))
    aside.replace(queue / f"{id}.job")
