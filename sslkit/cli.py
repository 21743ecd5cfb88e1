"""The command line: parse, call, print. Each command imports what it needs, so that help answers at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sslkit import cli_authors, cli_studies
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

if TYPE_CHECKING:
    from sslkit.core.tracker import Record
    from sslkit.run import Findings

app = typer.Typer(
    name="sslkit",
    help="Self-supervised learning for vision: run a recipe, get a backbone and the evidence for it.",
    epilog="Start here: sslkit run dino_pocket      Your own images: add data.name=folder data.root=DIR",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of the command `sslkit`."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        import sslkit

        typer.echo(f"sslkit {sslkit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


RUN_EXAMPLES = """Examples:

sslkit run dino_vits8   (the recipe's default variant)

sslkit run recipes/dino_pocket.yaml data.name=folder data.root=photos

sslkit run dino_vits8 --variant imagenet data.root=/data/imagenet --out runs/a

sslkit run runs/a --resume   (go on after a stop, a kill or a crash)

torchrun --nproc-per-node 8 -m sslkit.cli run dino_vits8 --variant imagenet data.root=/data/imagenet"""


@app.command(epilog=RUN_EXAMPLES)
def run(
    recipe: RecipeWord,
    overrides: Overrides = None,
    variant: Variant = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    out: RunOut = None,
    resume: Resume = False,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="CHECKPOINT", help="Start a new run from a checkpoint of another."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show what would run; train and write nothing.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Run a recipe: train, evaluate, draw, export."""
    with errors_told(debug):
        import sslkit.run as door

        chosen: dict[str, Any] = {
            "variant": variant,
            "plugins": plugin or (),
            "no_plugins": no_plugin or (),
            "out": out,
            "resume": resume,
            "start": start,
        }
        if dry_run:
            _print_plan(door.dry_run(recipe, overrides or (), **chosen))
            return
        raise typer.Exit(door.run(recipe, overrides or (), **chosen).exit_code)


EVAL_EXAMPLES = """Examples:

sslkit eval runs/dino_pocket

sslkit eval runs/dino_pocket --on knn eval.evaluators.knn.k=[5,20] --json

sslkit eval runs/dino_pocket/checkpoints/step-00001000 data.name=folder data.root=photos

sslkit eval backbone.safetensors --on knn data.name=folder data.root=photos

sslkit eval timm:resnet18 --on knn data.name=demo eval.resize=64 eval.crop=64   (initial weights: a floor)"""


@app.command(name="eval", epilog=EVAL_EXAMPLES)
def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory or one of its checkpoints, a backbone.safetensors, or timm:NAME.",
        ),
    ],
    overrides: Overrides = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An evaluator to ask, instead of the recipe's. Repeatable."),
    ] = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where pictures and tables go; default: the run, or the next free eval-NAME."
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute all features anew, and keep none in RUN/cache.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Evaluate the backbone of a run, or one alone."""
    with errors_told(debug):
        from contextlib import closing

        from sslkit.eval.progress import Shown
        from sslkit.run import evaluate_run

        with closing(Shown()) as shown:
            found = evaluate_run(
                run,
                overrides or (),
                on=on or (),
                plugins=plugin or (),
                no_plugins=no_plugin or (),
                out=out,
                cache=not no_cache,
                progress=shown,
            )
        print_json(found.as_record()) if as_json else _print_results(found)


REPORT_EXAMPLES = """Examples:

sslkit report runs/dino_pocket

sslkit report runs/dino_pocket/checkpoints/step-00001000   (with the features of that step)"""


@app.command(epilog=REPORT_EXAMPLES)
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or one of its checkpoints.")],
    debug: Debug = False,
) -> None:
    """Write a run's page anew: one file that opens anywhere."""
    with errors_told(debug):
        from sslkit.report.page import write_page

        path = write_page(run)
        typer.echo(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")


RECIPE_EXAMPLES = """Examples:

sslkit recipe dino_pocket   (every key, its value and its meaning)

sslkit recipe dino_pocket data.name=folder data.root=photos --out my_recipe.yaml"""


@app.command(epilog=RECIPE_EXAMPLES)
def recipe(
    recipe: RecipeWord,
    overrides: Overrides = None,
    variant: Variant = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, as a start for your own.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a recipe resolved, each value with its meaning."""
    with errors_told(debug):
        from sslkit.recipe.annotate import annotated, write_start
        from sslkit.recipe.load import load_recipe

        loaded = load_recipe(
            recipe, overrides or (), variant=variant, plugins=plugin or (), no_plugins=no_plugin or ()
        )
        header = f"{recipe}, variant {loaded.variant or 'none'}, resolved by sslkit"
        for note in loaded.notes:
            typer.echo(f"note: {note}", err=True)
        if out is None:
            typer.echo(annotated(loaded.recipe, header=header), nl=False)
            return
        write_start(loaded.recipe, out, header=header)
        typer.echo(f"{out} is written. Change it, then: sslkit run {out}")


cli_studies.add_to(app)
cli_authors.add_to(app)


# --- printing ----------------------------------------------------------------------------------------------


def _print_plan(record: "Record") -> None:
    from sslkit.train.wording import counted, header

    for line in header(record):
        typer.echo(line)
    epochs = f"{counted(record['epochs'], 'epoch')} of {counted(record['steps_per_epoch'], 'step')}"
    typer.echo(f"  steps     {record['total_steps']:,} ({epochs})")
    typer.echo("Everything is in place. Nothing was written; without --dry-run it trains.")


def _print_results(found: "Findings") -> None:
    from shutil import get_terminal_size

    for line in found.told(get_terminal_size((100, 24)).columns):
        typer.echo(line)


if __name__ == "__main__":
    main()
