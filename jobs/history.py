"""What runs of jobs are called when a person is told of them."""

from datetime import UTC, datetime
from typing import Final

from jobs.one_shot import EXIT_AWAY, EXIT_CONFIG, EXIT_CRASHED, EXIT_INTERRUPTED
from stream_ae.ports import JobRun

# One number means the same in every job.
MEANINGS: Final = {
    0: "done",
    EXIT_CRASHED: "failed, see its log",
    EXIT_CONFIG: "the configuration is wrong",
    3: "the champion was better and stays",
    4: "the data cannot be used",
    5: "another one was running",
    6: "rolled back: the workers were not well on it",
    EXIT_AWAY: "a server was away",
    124: "ended: it took longer than schedule.job_timeout_s",
    EXIT_INTERRUPTED: "interrupted",
}


def meaning(exit_code: int) -> str:
    """What a job's exit code says, in words.

    >>> meaning(3), meaning(-9)
    ('the champion was better and stays', 'ended by signal 9')
    """
    if exit_code < 0:
        return f"ended by signal {-exit_code}"
    return MEANINGS.get(exit_code, "unknown")


def told(run: JobRun) -> str:
    """One run as a line: which job, when, how long and how it ended."""
    begun = f"{datetime.fromtimestamp(run.begun_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if not run.ended_ms:
        return f"{run.job:<8} {begun}  under way, or its scheduler was killed"
    took_s = (run.ended_ms - run.begun_ms) / 1000
    return f"{run.job:<8} {begun}  {took_s:>6.0f} s  exit code {run.exit_code}: {meaning(run.exit_code)}"
