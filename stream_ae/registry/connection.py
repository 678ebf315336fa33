"""A Redis client whose every call is bounded, and its errors in the house's words."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream_ae.errors import ConfigError, TransientError
from stream_ae.settings import RedisSettings


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that has not connected yet. Raises ConfigError for a URL that cannot be one.

    redis-py 8 waits 4 s and more for a server that is down; callers have a pace of their own, so nothing is retried.
    """
    try:
        return redis.Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # The error's text, and so its chain, may quote the password.
        raise ConfigError("redis.url is not a Redis address: write it as redis://[user:password@]host:port/0") from None


def address(client: redis.Redis) -> str:
    """Where the client connects to, without user and password."""
    where = client.connection_pool.connection_kwargs
    if "path" in where:
        return f"Redis at {where['path']}"
    return f"Redis at {where.get('host', 'localhost')}:{where.get('port', 6379)}"


@contextmanager
def bounded(where: str, what: str) -> Iterator[None]:
    """Turns redis-py's errors into a TransientError that says `where`, `what` did not happen, and why."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise TransientError(f"{where} refuses the user or password: {what}; check redis.url") from error
    except redis.TimeoutError as error:
        raise TransientError(f"{where} did not answer in time: {what}; is it up, is redis.url right?") from error
    except redis.ConnectionError as error:
        raise TransientError(f"{where} is not reached: {what} ({error}); is it up, is redis.url right?") from error
    except redis.RedisError as error:
        raise TransientError(f"{where} refused: {what} ({error})") from error
