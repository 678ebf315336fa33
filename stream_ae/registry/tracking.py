"""An MLflow client whose every HTTP call is bounded, and its errors in the house's words."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from urllib.parse import urlsplit

import requests
import urllib3
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from stream_ae.errors import ConfigError, ModelError, TransientError
from stream_ae.settings import MlflowSettings

HTTP = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"
REFUSED = "INVALID_PARAMETER_VALUE"
LONGEST_REASON = 300


def connect(settings: MlflowSettings) -> MlflowClient:
    """A client that has not called yet. Raises ConfigError for an address that cannot be one.

    By default MLflow tries a dead server for 248 s. Its limits are environment variables, read at every call.
    """
    _check(settings.tracking_uri)
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(ceil(settings.timeout_s), 1))
    # One: a kept-alive connection that the server has just closed is no outage.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It would warn of the first try; our errors tell of the last.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def over_http(uri: str) -> bool:
    return urlsplit(uri).scheme in HTTP


def shown(uri: str) -> str:
    """The address without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def says_missing(error: MlflowException) -> bool:
    """True if MLflow itself knows no such thing; some other server's 'not found' page is none of its words."""
    return _code(error) == MISSING


def says_exists(error: MlflowException) -> bool:
    return _code(error) == EXISTS


@contextmanager
def bounded(uri: str, what: str) -> Iterator[None]:
    """Turns MLflow's errors into ours, which say where, that `what` did not happen, and why.

    ModelError if MLflow refuses what it was given, TransientError for everything else.
    """
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        where = f"MLflow at {shown(uri)}"
        check = "is it up, is mlflow.tracking_uri right?"
        # For urllib3 a refused connection is a kind of time-out as well.
        refused = _caused_by(error, urllib3.exceptions.NewConnectionError)
        if _caused_by(error, urllib3.exceptions.TimeoutError) and not refused:
            raise TransientError(f"{where} did not answer in time: {what}; {check}") from error
        if _caused_by(error, requests.ConnectionError):
            raise TransientError(f"{where} is not reached: {what}; {check}") from error
        story = f"{where}: {what} ({_reason(error, uri)})"
        if isinstance(error, MlflowException) and _code(error) == REFUSED:
            raise ModelError(f"{story}: MLflow does not take it so") from error
        raise TransientError(f"{story}; {check}") from error


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """True if `kind` is anywhere in the chain. MLflow wraps requests, which wraps urllib3, not always with `from`."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check(uri: str) -> None:
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in HTTP:
        if not urlsplit(uri).hostname:
            raise ConfigError(f"mlflow.tracking_uri {shown(uri)!r} names no host: write it as http://host:5000")
        return
    if scheme not in DATABASES:
        raise ConfigError(
            f"mlflow.tracking_uri {shown(uri)!r} is neither a server (http://host:5000) nor a database "
            "(sqlite:////folder/mlflow.db)"
        )
    if importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigError(
            f"mlflow.tracking_uri {shown(uri)!r} is a database, which needs the full mlflow: pip install mlflow, or "
            "point it at a server"
        )


def _code(error: MlflowException) -> str:
    # Over HTTP only a RestException was written by MLflow; in process there is no HTTP to be mistaken about.
    by_mlflow = isinstance(error, RestException) or "failed with error code" not in str(error)
    return str(error.error_code) if by_mlflow else ""


def _reason(error: Exception, uri: str) -> str:
    """The beginning of a text that may go on with a whole HTML page, without user and password."""
    text = " ".join(str(error).split()).replace(uri, shown(uri))
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
