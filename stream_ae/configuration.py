"""Settings from one YAML file and the environment; the only file that reads either.

Every value of the file is overridable by environment: `kafka.bootstrap_servers` is
`STREAM_AE_KAFKA__BOOTSTRAP_SERVERS`. Unknown keys are refused, at any level, with the nearest right name.

pydantic validates; reading is our own because pydantic-settings ignores unknown variables of its prefix and does not
say where a value came from.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stream_ae.errors import ConfigError
from stream_ae.settings import Group, Settings

ENV_PREFIX = "STREAM_AE_"
# Variables with our prefix that are not settings: where the file is, and where tests find servers and data.
NOT_SETTINGS = ("STREAM_AE_CONFIG", "STREAM_AE_DATA", "STREAM_AE_TEST_", "STREAM_AE_CACHE")


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective value, for people: secrets are masked."""

    path: str
    value: str
    origin: str
    description: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where each value came from (`default`, the file's path or the variable's name)."""

    settings: Settings
    origins: Mapping[str, str]

    def table(self) -> list[Setting]:
        rows = []
        for path, field, value in _leaves(self.settings):
            shown = str(value) if value is not None else ""
            rows.append(Setting(path, shown, self.origins.get(path, "default"), field.description or ""))
        return rows


def load(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Settings from `file` (or the one that STREAM_AE_CONFIG names), overridden by the environment.

    Raises ConfigError naming every unknown key (with the nearest right one) and every value that does not fit.
    """
    env = os.environ if environment is None else environment
    if file is None and env.get("STREAM_AE_CONFIG"):
        file = Path(env["STREAM_AE_CONFIG"])
    data: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        data = _read_yaml(file)
        _check_keys(data, Settings, "", f"in {file}")
        origins |= {path: str(file) for path in _paths(data)}
    for name, value in sorted(env.items()):
        if name.upper().startswith(ENV_PREFIX) and not name.upper().startswith(NOT_SETTINGS):
            path = _path_of_variable(name.upper())
            _put(data, path.split("."), _parsed(path, value), name)
            origins[path] = name
    try:
        return Loaded(Settings.model_validate(data), origins)
    except ValidationError as error:
        raise ConfigError(_explained(error, origins)) from None


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {file} does not exist: check --config or STREAM_AE_CONFIG") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"configuration file {file} cannot be read: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"configuration file {file} must be a mapping of settings, not a {type(data).__name__}")
    return data


def _check_keys(data: Mapping[Any, Any], group: type[BaseModel], prefix: str, where: str) -> None:
    for key, value in data.items():
        path = f"{prefix}{key}"
        field = group.model_fields.get(key) if isinstance(key, str) else None
        if field is None:
            raise ConfigError(f"unknown setting '{path}' {where}{_nearest(path)}")
        inner = _group_of(field)
        if inner is None:
            continue
        if not isinstance(value, dict):
            raise ConfigError(f"setting '{path}' {where} is a group: put its values one level deeper")
        _check_keys(value, inner, f"{path}.", where)


def _path_of_variable(name: str) -> str:
    path = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
    if path in _all_paths():
        return path
    nearest = difflib.get_close_matches(path, _all_paths(), n=1, cutoff=0.5)
    hint = f"; did you mean {_variable(nearest[0])}?" if nearest else "; see `stream-ae check-config`"
    raise ConfigError(f"unknown setting {name} in the environment{hint}")


def _nearest(path: str) -> str:
    known = [*_all_paths(), *Settings.model_fields]
    nearest = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else "; see `stream-ae check-config`"


def _variable(path: str) -> str:
    return ENV_PREFIX + path.upper().replace(".", "__")


def _parsed(path: str, text: str) -> Any:
    """An empty variable stands for 'nothing' where the setting allows it, else text for pydantic to convert."""
    if text == "" and type(None) in get_args(_field_at(path).annotation):
        return None
    return text


def _put(data: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: '{part}' is a group, but the configuration file gives it a value")
    data[path[-1]] = value


def _paths(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _group_of(field: FieldInfo) -> type[Group] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Group) else None


def _leaves(group: Group, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Group):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field, value


def _all_paths() -> list[str]:
    return [path for path, _, _ in _leaves(Settings())]


def _field_at(path: str) -> FieldInfo:
    return next(field for known, field, _ in _leaves(Settings()) if known == path)


def _explained(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"])
        given = "" if isinstance(problem["input"], Mapping) or "password" in path else f" (given: {problem['input']!r})"
        origin = origins.get(path, "settings")
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{path or 'settings'} from {origin}: {message}{given}")
    return "; ".join(lines)
