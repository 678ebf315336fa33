"""`models`: versions in MLflow, and which one the workers run."""

from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import console, progress_console, settings

if TYPE_CHECKING:
    from stream_ae.ports import Desired, ModelSignal, ModelStore
    from stream_ae.records import ModelVersion
    from stream_ae.registry.rollout import Rollout
    from stream_ae.settings import Settings

# Of what became of a version; `models show` has all of it.
TOLD_WIDTH = 110


app = typer.Typer(help="Versions: list, show, compare, promote, roll back, shadow, history.", no_args_is_help=True)


@app.command("list")
def list_versions(context: typer.Context) -> None:
    """List every version of the pipeline's model, newest last; * is the champion."""
    from rich.table import Table

    found = _store(settings(context)).versions()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "version", "registered (UTC)", "digest"):
        table.add_column(heading)
    table.add_column("what became of it")
    for version in found:
        mark = "*" if "champion" in version.aliases else ""
        others = [f"alias {alias}" for alias in version.aliases if alias != "champion"]
        told = shorten("; ".join([*others, *filter(None, [version.description])]), TOLD_WIDTH, placeholder=" …")
        table.add_row(mark, version.version, _when(version.created_ms), version.digest[:12], told)
    if found:
        console().print(table)
    else:
        typer.echo("no version yet: `stream-ae retrain`, or `stream-ae train FILE --register`")


@app.command()
def show(context: typer.Context, version: Annotated[str, typer.Argument(help="A number, or champion.")]) -> None:
    """Show one version: digest, tags and lineage."""
    found = find_version(_store(settings(context)), version)
    facts = {
        "model": f"{found.name}/{found.version}",
        "registered": f"{_when(found.created_ms)} UTC",
        "digest": found.digest,
        "aliases": ", ".join(found.aliases) or "-",
    }
    facts |= dict(sorted(found.tags.items()))
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A number of `models list`.")],
    wait: Annotated[bool, typer.Option(help="Wait until every worker runs it.")] = True,
) -> None:
    """Make a version the champion and have every worker swap to it."""
    effective = settings(context)
    store = _store(effective)
    with _Signal(effective) as signal:
        target = find_version(store, version)
        _promote(store, signal, effective, target, f"promoted to {target.version} by hand", wait)


@app.command()
def rollback(
    context: typer.Context, wait: Annotated[bool, typer.Option(help="Wait until every worker runs it.")] = True
) -> None:
    """Go back to the newest older version that was in service."""
    effective = settings(context)
    store = _store(effective)
    with _Signal(effective) as signal:
        target = version_before(store, signal.history())
        _promote(store, signal, effective, target, f"rolled back to {target.version} by hand", wait)


@app.command()
def shadow(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(help="A number of `models list`.")] = None,
    off: Annotated[bool, typer.Option("--off", help="No version beside the champion any more.")] = False,
) -> None:
    """Let a version score beside the champion: its figures are in `status` and MLflow, its outputs go nowhere."""
    from stream_ae.clock import SystemClock
    from stream_ae.errors import ConfigError
    from stream_ae.ports import Desired

    effective = settings(context)
    if (version is None) != off:
        raise ConfigError("say which: `stream-ae models shadow VERSION`, or `stream-ae models shadow --off`")
    with _Signal(effective, effective.shadow) as signal:
        if version is None:
            signal.withdraw()
            typer.echo("no version scores beside the champion any more")
            return
        target = challenger(_store(effective), version)
        signal.announce(Desired(target.identity, SystemClock().wall_ms(), "shadow"))
        typer.echo(f"{target.name}/{target.version} scores beside the champion: see `stream-ae status`")


@app.command()
def history(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, help="So many announcements.")] = 20
) -> None:
    """Show what was announced to the workers, newest first, and why: promotions, retrainings, rollbacks."""
    from rich.table import Table

    with _Signal(settings(context)) as signal:
        announced = signal.history(limit)
    table = Table(box=None, pad_edge=False)
    for heading in ("announced (UTC)", "version", "digest", "why"):
        table.add_column(heading)
    for one in announced:
        table.add_row(_when(one.announced_ms), one.model.version, one.model.digest[:12], one.reason)
    if announced:
        console().print(table)
    else:
        typer.echo("nothing has been announced yet, or Redis was wiped since: `stream-ae models promote VERSION`")


@app.command()
def diff(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A number, or champion.")],
    other: Annotated[str, typer.Argument(help="A number, or champion.")] = "champion",
) -> None:
    """Show in what two versions differ: configuration, choices, calibration, lineage, the gate's verdicts."""
    from tempfile import TemporaryDirectory

    from rich.table import Table

    store = _store(settings(context))
    chosen = [find_version(store, asked) for asked in (version, other)]
    with TemporaryDirectory(prefix="stream-ae-diff-") as scratch:
        found = [_facts(store, one, Path(scratch)) for one in chosen]
    table = Table(box=None, pad_edge=False)
    for heading in ("", *(f"version {one.version}" for one in chosen)):
        table.add_column(heading)
    for name in sorted(found[0].keys() | found[1].keys()):
        values = [facts.get(name, "-") for facts in found]
        if values[0] != values[1]:
            table.add_row(name, *values)
    if table.row_count:
        console().print(table)
    else:
        typer.echo("they are the same")


def _facts(store: "ModelStore", version: "ModelVersion", scratch: Path) -> dict[str, str]:
    """What is known of a version by name: its tags and its configuration's short values."""
    from stream_ae.registry.packaging import parameters

    folder = store.fetch(version.version, scratch / version.version)
    return {"digest": version.digest[:12]} | parameters(folder) | dict(version.tags)


def promote_version(effective: "Settings", target: "ModelVersion", reason: str) -> None:
    """Make `target` the champion and wait until every worker runs it."""
    with _Signal(effective) as signal:
        _promote(_store(effective), signal, effective, target, reason, wait=True)


def find_version(store: "ModelStore", asked: str, profiles: bool = False) -> "ModelVersion":
    """The version of that number, or the champion. Raises ConfigError naming what there is.

    profiles: the store holds versions of the streams' profiles.
    """
    from stream_ae.errors import ConfigError

    if asked == "champion":
        champion = store.champion()
        if champion is None and profiles:
            raise ConfigError("no profiles of the streams are in service: `stream-ae adapt` learns them")
        if champion is None:
            raise ConfigError("there is no champion yet: `stream-ae models promote VERSION`, or `stream-ae retrain`")
        return champion
    versions = store.versions()
    for version in versions:
        if version.version == asked.removeprefix("v"):
            return version
    there = ", ".join(version.version for version in versions) or "none yet"
    raise ConfigError(f"there is no version {asked!r}{' of the profiles' if profiles else ''}; versions: {there}")


def fetched(store: "ModelStore", asked: str, scratch: Path, profiles: bool = False) -> "tuple[ModelVersion, Path]":
    """The version of that number, or the champion, and its folder in `scratch`, which holds what was registered."""
    from stream_ae.digest import folder_digest
    from stream_ae.errors import DigestError

    found = find_version(store, asked, profiles)
    folder = store.fetch(found.version, scratch / found.version)
    if folder_digest(folder) != found.digest:
        raise DigestError(f"{found.name}/{found.version} in MLflow is not what was registered: take another version")
    return found, folder


def challenger(store: "ModelStore", asked: str) -> "ModelVersion":
    """The version of that number. Raises ConfigError if it is the champion, which has nobody to be compared with."""
    from stream_ae.errors import ConfigError

    found = find_version(store, asked)
    champion = store.champion()
    if champion is not None and champion.digest == found.digest:
        raise ConfigError(f"version {found.version} is the champion: name another one to score beside it")
    return found


def version_before(store: "ModelStore", history: "list[Desired]") -> "ModelVersion":
    """The newest version older than the champion that was ever announced, else simply the newest older one.

    `history` is empty after Redis has been wiped. Rolling back twice goes back two versions. A champion that was
    deleted by hand is the one that was announced last; versions that were rolled back before are passed over.
    """
    from stream_ae.errors import ConfigError
    from stream_ae.registry.rollout import ROLLED_BACK

    champion, versions = store.champion(), store.versions()
    if champion is None and not history:
        find_version(store, "champion")
    current = champion.version if champion is not None else history[0].model.version
    older = [version for version in versions if int(version.version) < int(current)]
    if not older:
        raise ConfigError(f"there is no version before {current} to roll back to: see `stream-ae models list`")
    announced = {desired.model.digest for desired in history}
    served = [version for version in older if version.digest in announced and ROLLED_BACK not in version.tags]
    return max(served or older, key=lambda version: int(version.version))


def _promote(
    store: "ModelStore", signal: "ModelSignal", effective: "Settings", target: "ModelVersion", reason: str, wait: bool
) -> None:
    from stream_ae.clock import SystemClock
    from stream_ae.errors import ModelError
    from stream_ae.ports import Desired
    from stream_ae.registry.rollout import roll_out

    store.promote(target.version)
    typer.echo(f"champion is now {target.name}/{target.version}")
    timeout_s, clock = effective.retrain.rollout_timeout_s if wait else 0.0, SystemClock()
    with progress_console().status("waiting for the workers"):
        rollout = roll_out(signal, Desired(target.identity, clock.wall_ms(), reason), clock, timeout_s)
    if wait and not rollout.complete:
        raise ModelError(_stuck(rollout, timeout_s))
    if wait:
        typer.echo(f"workers on it: {', '.join(w.worker for w in rollout.on_it) or 'none is running'}")


def _stuck(rollout: "Rollout", timeout_s: float) -> str:
    said = (f"{worker.worker} ({'; '.join(worker.problems) or worker.health})" for worker in rollout.not_on_it)
    return f"after {timeout_s:g} s these workers still run something else: {', '.join(said)}; see `stream-ae status`"


def _store(effective: "Settings") -> "ModelStore":
    from stream_ae.registry.store import MlflowStore

    return MlflowStore(effective.mlflow, effective.pipeline)


class _Signal:
    """The pipeline's Redis signal, closed at the end of a command."""

    def __init__(self, effective: "Settings", name: str = "") -> None:
        from stream_ae.clock import SystemClock
        from stream_ae.registry.signal import RedisSignal

        self._signal: ModelSignal = RedisSignal(effective.redis, name or effective.pipeline, SystemClock())

    def __enter__(self) -> "ModelSignal":
        return self._signal

    def __exit__(self, *_: object) -> None:
        self._signal.close()


def _when(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
