"""A job under `torchrun`: rank 0 does all of it, the others take part in the fitting that it leads.

torchrun --nproc-per-node 2 -m jobs.retrain --config stream-ae.yaml
"""

from collections.abc import Callable

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from jobs.one_shot import EXIT_CONFIG, EXIT_INTERRUPTED
from stream_ae.errors import ConfigError
from stream_ae.telemetry import Log
from stream_ae.training.ranks import ALONE, Ranks
from stream_ae.training.together import Together

log = Log("ranks")

EXIT_CRASHED = 1


def on_ranks(run: Callable[[Ranks], int]) -> int:
    """Its exit code, on every rank that torchrun started; without torchrun it is just run.

    Raises TransientError where another rank is gone.
    """
    if not dist.is_torchelastic_launched():
        return run(ALONE)
    store, rank, size = next(rendezvous("env://"))
    if size == 1:
        return run(ALONE)
    together = Together(store, rank, size)
    try:
        return _led(run, together) if rank == 0 else _followed(together)
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
    return together.follow()
