"""When scheduled jobs ran, in Redis next to the versions that they made."""

from typing import Any

import msgspec

from stream_ae.ports import JobRun
from stream_ae.registry.connection import address, bounded, connect
from stream_ae.settings import RedisSettings
from stream_ae.telemetry import Log

log = Log("registry.job_history")

KEPT = 500

# Fields begin with the time, so the smallest is the oldest.
NOTE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local fields = redis.call('HKEYS', KEYS[1])
table.sort(fields)
for i = 1, #fields - tonumber(ARGV[3]) do redis.call('HDEL', KEYS[1], fields[i]) end
"""


class RedisJobHistory:
    """Implements `ports.JobHistory`; safe to share between threads."""

    def __init__(self, settings: RedisSettings, pipeline: str) -> None:
        client = connect(settings)
        self._client: Any = client
        self._where = address(client)
        self._key = f"stream-ae:{{{pipeline}}}:jobs"

    def note(self, run: JobRun) -> None:
        field = f"{run.begun_ms:016}:{run.job}"
        with bounded(self._where, "run of a job not noted"):
            self._client.eval(NOTE, 1, self._key, field, msgspec.json.encode(run), KEPT)

    def runs(self, limit: int = 100) -> list[JobRun]:
        with bounded(self._where, "runs of jobs not read"):
            found = self._client.hgetall(self._key)
        newest = sorted(found.items(), reverse=True)
        return [run for _, value in newest if (run := self._run(value)) is not None][:limit]

    def close(self) -> None:
        self._client.close()

    def _run(self, value: bytes) -> JobRun | None:
        try:
            return msgspec.json.decode(value, type=JobRun)
        except msgspec.DecodeError as error:
            log.warning("run of a job not readable", key=self._key, reason=str(error))
            return None
