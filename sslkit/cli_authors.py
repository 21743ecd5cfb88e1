"""The commands for those who write plugins, and for those who want to know what there is."""

from typing import Annotated

import typer

from sslkit.command_line import AsJson, Debug, NoPlugins, Plugins, errors_told, print_json

plugins_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


def add_to(app: typer.Typer) -> None:
    """Make the commands of this file part of `sslkit`."""
    app.add_typer(plugins_app, name="plugins", epilog=PLUGINS_EXAMPLES)


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


@plugins_app.command(
    epilog="Examples: sslkit plugins show knn      sslkit plugins show methods:dino --source"
)
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
