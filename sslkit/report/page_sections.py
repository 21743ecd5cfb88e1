"""The page's parts that are words, numbers and pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from sslkit.report.page_pictures import Gallery, gallery, picture
from sslkit.report.page_run import Figure, Run, figures, headlines, in_short
from sslkit.train.wording import counted, display_name

TONES = {"healthy": "good", "not learning yet": "wait", "dead features": "bad"}
"""How a verdict is coloured; what is not here is bad."""
OWN_SECTION = ("timeline", "prototypes")
"""Folders of pictures that are shown elsewhere."""
NOTHING = Gallery((), ())


# --- the opening -------------------------------------------------------------------------------------------


def opening(run: Run) -> dict[str, Any]:
    """The first screen: what it was, how it went, what it reached."""
    verdict = _verdict(run)
    numbers = headlines(run)
    first = f", {numbers[0].label} {numbers[0].told(numbers[0].value)}" if numbers else ""
    return {
        "short": in_short(run),
        "ending": _ending(run),
        "verdict": verdict,
        "headlines": numbers,
        "headline": (verdict["name"] if verdict else str(run.record.get("status", "report"))) + first,
    }


def _verdict(run: Run) -> dict[str, Any] | None:
    if not run.verdicts:
        return None
    last = run.verdicts[-1]
    told = {key: last.get(key) for key in ("cause", "evidence", "advice")}
    return {"name": last["verdict"], "tone": _tone(last["verdict"]), "course": _course(run), **told}


def _tone(verdict: str) -> str:
    return TONES.get(verdict, "bad")


def _course(run: Run) -> list[dict[str, Any]]:
    """How the verdict changed: from which step to which, and what share of the run."""
    parts: list[dict[str, Any]] = []
    start = 0
    for record in run.verdicts:
        name, step = record["verdict"], record["step"]
        if parts and parts[-1]["name"] == name:
            parts[-1]["end"] = step
        else:
            parts.append({"name": name, "tone": _tone(name), "start": start, "end": step})
        start = step
    total = max(run.verdicts[-1]["step"], 1)
    return [{**part, "share": round((part["end"] - part["start"]) / total, 4)} for part in parts]


def _ending(run: Run) -> dict[str, str] | None:
    """How a run ended that did not reach its end."""
    status = run.record.get("status")
    if status not in ("failed", "stopped"):
        return None
    error = str(run.record.get("error") or "").partition("\n")[0]
    resumable = any(run.directory.checkpoints.glob("step-*"))
    return {
        "status": status,
        "text": f"at step {run.steps:,}" + (f": {error}" if error else ""),
        "command": f"sslkit run {quote(str(run.directory.path))} --resume" if resumable else "",
    }


# --- pictures, numbers, environment ------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluated:
    """An evaluator's part of the page."""

    name: str
    figures: Sequence[Figure]
    gallery: Gallery
    dataset: str = ""
    images: int | None = None
    when: str = ""

    @property
    def has_untrained(self) -> bool:
        return any(f.untrained is not None for f in self.figures)

    @property
    def has_interval(self) -> bool:
        return any(f.interval for f in self.figures)

    @property
    def has_count(self) -> bool:
        return any(f.count is not None for f in self.figures)


def record(run: Run, data: Mapping[str, Any]) -> dict[str, Any]:
    """Everything below the opening that is not drawn by the page's script."""
    folder = run.directory.figures
    context: dict[str, Any] = {
        "crops": picture(folder / "crops.png", "Training images and their crops"),
        "attention": None
        if data["timeline"]
        else picture(folder / "attention.png", "Attention of the last block"),
        "prototypes": _filled(gallery(folder / "prototypes")),
        "evaluations": list(_evaluations(run)),
        "others": gallery(folder, leave_out=("crops.png", "attention.png", "curves.png")),
        "environment": list(environment(run.record)),
        "environment_short": environment_short(run.record),
    }
    return {**context, "sections": list(_sections(context, data))}


def _filled(found: Gallery) -> Gallery | None:
    return found if found.pictures or found.tables else None


def _evaluations(run: Run) -> Iterator[Evaluated]:
    told = set()
    for name, records in run.evals().items():
        last = records[-1]
        folder = _folder(run, last)
        told.add(folder)
        pictures = (
            NOTHING
            if last["evaluator"] in OWN_SECTION
            else gallery(folder, _DRAWN.get(last["evaluator"], ()))
        )
        yield Evaluated(
            display_name(name),
            figures(name, records, run.classes),
            pictures,
            str(last.get("dataset", "")),
            last.get("images"),
            f"step {last['step']:,}",
        )
    for folder in sorted(run.directory.figures.glob("*")):
        if folder.is_dir() and folder not in told and folder.name not in OWN_SECTION:
            found = _filled(gallery(folder))
            if found is not None:
                yield Evaluated(folder.name, (), found)


_DRAWN = {"invariance": ("curves.png",)}
"""Pictures that the page draws itself."""


def _folder(run: Run, record: Mapping[str, Any]) -> Path:
    """Where an evaluator's pictures are: on other images than the run's own in a folder of theirs."""
    own = run.directory.figures / str(record["evaluator"])
    other = run.directory.figures / re.sub(r"[^\w.=-]+", "-", str(record.get("dataset", "")))
    return other / str(record["evaluator"]) if other.is_dir() and record.get("dataset") else own


def _sections(context: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those that the page has, in their order: (id, title)."""
    there = {
        ("curves", "Curves"): data["curves"],
        ("attention", "Attention"): data["timeline"] or context["attention"],
        ("neighbours", "Neighbours"): data["features"],
        ("map", "Map"): data["features"],
        ("crops", "Crops"): context["crops"],
        ("invariance", "Invariance"): data["invariance"],
        ("prototypes", "Prototypes"): context["prototypes"],
        ("numbers", "Numbers"): context["evaluations"] or context["others"].pictures,
        ("recipe", "Recipe"): True,
    }
    return (section for section, is_there in there.items() if is_there)


def environment(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a `run.json` says of where a run was made, in words."""
    left_out = ("plugins", "packages", "metrics", "setup", "peak_memory_mib", "hooks")
    for key, value in record.items():
        if key not in left_out and value is not None and value != []:
            yield key.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    memory = record.get("peak_memory_mib") or {}
    for where, amount in memory.items():
        if isinstance(amount, int | float):
            yield f"peak memory, {where}", f"{amount:,.0f} MiB"
    packages = record.get("packages") or {}
    if packages:
        yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items())
    foreign = [p for p in record.get("plugins") or () if p.get("origin") != "built-in"]
    if foreign:
        yield (
            "plugins",
            ", ".join(f"{p.get('name')} {p.get('version') or p.get('sha256') or ''}" for p in foreign),
        )
    for time in record.get("hooks") or ():
        yield (
            f"{time['plugin']}, {time['hook']}",
            f"{time['seconds']:.3g} s in {counted(time['calls'], 'call')}",
        )


def environment_short(record: Mapping[str, Any]) -> str:
    """The same in one line."""
    packages = record.get("packages") or {}
    parts = [
        f"sslkit {record['sslkit']}" if record.get("sslkit") else "",
        f"torch {packages['torch']}" if packages.get("torch") else "",
        str(record.get("device") or ""),
        f"{record['threads']} threads" if (record.get("threads") or 0) > 1 else "",
        f"seed {record['seed']}" if record.get("seed") is not None else "",
    ]
    return ", ".join(part for part in parts if part)
