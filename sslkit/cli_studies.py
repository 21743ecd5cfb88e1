"""The commands for those who compare: two runs, a study of many, a recipe and what it promised."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sslkit.command_line import (
    AsJson,
    Debug,
    NoPlugins,
    Overrides,
    Plugins,
    RecipeWord,
    Resume,
    RunOut,
    Variant,
    errors_told,
    print_json,
)


def add_to(app: typer.Typer) -> None:
    """Make the commands of this file part of `sslkit`."""
    app.command(epilog=COMPARE_EXAMPLES)(compare)
    app.command(epilog=ABLATE_EXAMPLES)(ablate)
    app.command(epilog=REPRODUCE_EXAMPLES)(reproduce)


COMPARE_EXAMPLES = """Examples:

sslkit compare runs/dino_pocket runs/byol_pocket

sslkit compare runs/byol-0 runs/byol-1 runs/simclr-0 runs/simclr-1   (seeds of one recipe are one row)

sslkit compare runs/* --metric knn.top1_k20 --out dino_against_byol"""


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories, two or more.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="EVALUATOR.KEY", help="A metric, instead of the usual ones. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where tables and curves go; default: the next free comparison."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare runs: what they differ in, what they reach at equal cost, and what they took."""
    with errors_told(debug):
        from sslkit import compare as door

        comparison = door.compare(runs, metric or ())
        written = door.save(comparison, out)
        if as_json:
            print_json(door.as_record(comparison))
            return
        door.show(comparison)
        typer.echo(f"\nwritten: {', '.join(map(str, written))}")


ABLATE_EXAMPLES = """Examples:

sslkit ablate smoke   (3 arms x 2 seeds, some minutes)

sslkit ablate recipes/ablations/temperature.yaml --dry-run   (the arms, what they change, how long it takes)

sslkit ablate augmentations data.name=folder data.root=photos --seeds 0-4 --out studies/photos

sslkit ablate my_study.yaml --executor slurm --option partition=gpu --option minutes=600 --jobs 16

The same command again goes on where it was."""


def ablate(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a packed one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes to the recipes of all arms, such as data.root=DIR."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Instead of the file's: 0,1,2 or 0-4.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="EVALUATOR.KEY", help="A metric, instead of the file's. Repeatable."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Most runs at a time; default: the executor's choice."),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="NAME", help="Who runs it: local, ray, slurm, or a plugin's.")
    ] = "local",
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A key of the executor. Repeatable.")
    ] = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The study's directory; default: studies/NAME.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run again what failed; else a failure is a result.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, try each arm for some steps, say how long it takes.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a study: arms x seeds, compared to a baseline with intervals. The same command again goes on."""
    with errors_told(debug):
        from sslkit import ablate as door
        from sslkit.ablation.words import read_options, read_seeds

        chosen: dict[str, Any] = {
            "seeds": None if seeds is None else read_seeds(seeds),
            "metrics": metric or (),
            "plugins": plugin or (),
            "no_plugins": no_plugin or (),
            "jobs": jobs,
            "out": out,
            "executor": executor,
            "options": read_options(option or ()),
            "retry_failed": retry_failed,
        }
        if dry_run:
            for line in door.told_plan(study, overrides or (), **chosen):
                typer.echo(line)
            return
        outcome = door.ablate(
            study,
            overrides or (),
            file=sys.stderr if as_json else None,
            **chosen,
        )
        print_json(door.as_record(outcome.result)) if as_json else door.show(outcome)
        raise typer.Exit(outcome.exit_code)


REPRODUCE_EXAMPLES = """Examples:

sslkit reproduce dino_pocket   (runs it, some minutes on two CPU cores, and says inside or outside)

sslkit reproduce dino_pocket --variant nano seed=5

sslkit reproduce runs/dino_pocket --resume   (go on after a stop, a kill or a crash)"""


def reproduce(
    recipe: RecipeWord,
    overrides: Overrides = None,
    variant: Variant = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    out: RunOut = None,
    resume: Resume = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a recipe, and say whether its metrics are in the bands that it states: exit code 0, or 1."""
    with errors_told(debug):
        from sslkit import reproduce as door
        from sslkit.train.distributed import is_first_process

        chosen: dict[str, Any] = {"variant": variant, "out": out, "resume": resume, "quiet": as_json}
        found = door.reproduce(
            recipe, overrides or (), plugins=plugin or (), no_plugins=no_plugin or (), **chosen
        )
        if is_first_process():
            print_json(found.as_record()) if as_json else typer.echo("\n".join(found.told()))
        raise typer.Exit(found.exit_code)
