"""A job under `torchrun`: rank 0 does all of it, the others take part in the fitting that it leads.

torchrun --nproc-per-node 2 -m jobs.retrain --config stream-ae.yaml
"""

from collections.abc import Callable

from jobs.one_shot import EXIT_AWAY, EXIT_CONFIG, EXIT_CRASHED, EXIT_INTERRUPTED
from stream_ae.errors import ConfigError, TransientError
from stream_ae.telemetry import Log
from stream_ae.training.ranks import ALONE, Ranks
from stream_ae.training.together import Together, started_by_torchrun

log = Log("ranks")


def on_ranks(run: Callable[[Ranks], int]) -> int:
    """Its exit code, on every process that torchrun started; without torchrun it is just run."""
    if not started_by_torchrun():
        return run(ALONE)
    try:
        together = Together()
    except TransientError as error:
        log.error("the other processes did not come", reason=error)
        return EXIT_AWAY
    try:
        return _led(run, together) if together.rank == 0 else _followed(together)
    finally:
        together.close()


def _led(run: Callable[[Ranks], int], together: Together) -> int:
    code = EXIT_CRASHED
    try:
        code = run(together)
    except ConfigError:
        code = EXIT_CONFIG
        raise
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        raise
    finally:
        together.end(code)
    return code


def _followed(together: Together) -> int:
    log.info("taking part in what rank 0 trains", rank=together.rank, ranks=together.size)
    try:
        return together.follow()
    except TransientError as error:
        log.error("the training is over before its end", reason=error)
        return EXIT_AWAY
