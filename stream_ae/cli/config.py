"""`check-config`: what would be in force, and where each value came from."""

from dataclasses import asdict
from typing import Annotated

import typer

from stream_ae.cli.context import console, options


def check_config(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
) -> None:
    """Print the effective configuration and where each value came from; secrets are masked.

    Exits with 2, naming the setting, if something is unknown or does not fit.
    """
    rows = [row for row in options(context).loaded.table() if not changed or row.origin != "default"]
    if as_json:
        import orjson

        typer.echo(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2).decode())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "meaning"):
        table.add_column(heading, style="dim" if heading == "meaning" else "")
    for row in rows:
        origin = Text(row.origin, style="dim" if row.origin == "default" else "bold green")
        table.add_row(Text(row.path), Text(row.value), origin, Text(row.description))
    console().print(table)
