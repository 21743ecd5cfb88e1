"""The commands for those who write plugins, and for those who want to know what there is."""

from pathlib import Path
from typing import Annotated

import typer

from sslkit.command_line import AsJson, Debug, NoPlugins, Plugins, errors_told, print_json

plugins_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


def add_to(app: typer.Typer) -> None:
    """Make the commands of this file part of `sslkit`."""
    app.command(epilog=NEW_EXAMPLES)(new)
    app.command(epilog=CHECK_EXAMPLES)(check)
    app.add_typer(plugins_app, name="plugins", epilog=PLUGINS_EXAMPLES)


NEW_EXAMPLES = """Examples:

sslkit new method two_view --single-file   (two_view.py, for --plugin two_view.py)

sslkit new evaluator sharpness   (a package, sslkit-sharpness, with tests and a recipe)"""


def new(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="method, backbone, augmentation, dataset, evaluator or tracker."),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What recipes will call it: small letters, digits and _.")
    ],
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write NAME.py instead of a package.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write it; default: the current folder.")
    ] = None,
    no_plugin: NoPlugins = None,
    debug: Debug = False,
) -> None:
    """Write a new plugin that works as it is: a package with tests and a recipe, or one file."""
    with errors_told(debug):
        from sslkit import new as door

        written = door.new(kind, name, single_file=single_file, out=out, no_plugins=no_plugin or ())
        for line in written.told():
            typer.echo(line)


CHECK_EXAMPLES = """Examples:

sslkit check my_method.py

sslkit check sslkit-glom   (an installed plugin; a package's folder works too)

sslkit check method:dino out_dim=64

sslkit check my_data.py data.root=photos   (a data set needs data)"""


def check(
    word: Annotated[
        str,
        typer.Argument(
            metavar="PATH|NAME",
            help="A .py file, a package's folder, an installed plugin, a component, or KIND:NAME.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the component, or what it is checked with (data.root=DIR)."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only components of this kind, such as methods.")
    ] = None,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check a plugin against the interfaces: what it keeps to, and what to change where it does not."""
    with errors_told(debug):
        from shutil import get_terminal_size

        from sslkit import check as door

        outcome = door.check(
            word,
            overrides or (),
            kind=kind,
            plugins=plugin or (),
            no_plugins=no_plugin or (),
            say=None if as_json else typer.echo,
            width=get_terminal_size((100, 24)).columns,
        )
        if as_json:
            print_json(outcome.as_record())
        raise typer.Exit(outcome.exit_code)


PLUGINS_EXAMPLES = """Examples:

sslkit plugins --plugin my_method.py

sslkit plugins show dino   (its keys, their defaults and meanings)

SSLKIT_PLUGINS_ALLOW=sslkit-glom sslkit plugins   (load no other third-party plugin)"""


@plugins_app.callback(invoke_without_command=True)
def plugins(
    context: typer.Context,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List every component: its plugin, version, status and file; and the plugins that are not loaded."""
    if context.invoked_subcommand is not None:
        return
    with errors_told(debug):
        from sslkit import catalog
        from sslkit.plugins import Registry

        registry = Registry.load(plugin or (), blocked=no_plugin or ())
        if as_json:
            print_json(catalog.as_record(registry))
            return
        for line in catalog.told(registry):
            typer.echo(line)


@plugins_app.command(epilog="Examples: sslkit plugins show knn      sslkit plugins show method:dino --source")
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A component, KIND:COMPONENT, or a plugin (all it provides)."),
    ],
    source: Annotated[bool, typer.Option("--source", help="Print the source too.")] = False,
    plugin: Plugins = None,
    no_plugin: NoPlugins = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a component: what it is, its keys with defaults and meanings, where its source is."""
    with errors_told(debug):
        from sslkit import catalog
        from sslkit.plugins import Registry

        pages = catalog.show(Registry.load(plugin or (), blocked=no_plugin or ()), name)
        if as_json:
            print_json([page.as_record() for page in pages])
            return
        for page in pages:
            typer.echo("\n".join(catalog.told_page(page, source=source)))
