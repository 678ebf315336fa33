"""The options that say what a file's columns mean, the same for every command that reads one."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_ae.tables import Layout

PANEL = "Columns of the file"

TimestampOption = Annotated[
    str | None,
    typer.Option("--timestamp-column", help="Default: timestamp, time, datetime, ...", rich_help_panel=PANEL),
]
StreamOption = Annotated[
    str | None,
    typer.Option("--stream-column", help="Default: stream; without one, a single stream.", rich_help_panel=PANEL),
]
ChannelOption = Annotated[
    list[str] | None,
    typer.Option("--channel", help="A column to use; repeat it. Default: all numeric ones.", rich_help_panel=PANEL),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="A column that is no channel, such as a label; repeat it.", rich_help_panel=PANEL),
]
ArrayOption = Annotated[
    str | None, typer.Option("--array", help="In an npz: the array of values.", rich_help_panel=PANEL)
]


def layout_of(
    timestamp: str | None,
    stream: str | None,
    channels: list[str] | None,
    exclude: list[str] | None,
    array: str | None,
) -> "Layout":
    """The options as one value."""
    from stream_ae.tables import Layout

    return Layout(timestamp, stream, array, tuple(channels or ()), tuple(exclude or ()))
