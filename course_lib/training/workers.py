"""Where the trials of a sweep run: here, on workers of this machine, or on a Dask cluster of any size."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from course_lib.errors import CourseError

PATIENCE = "15s"  # to reach a scheduler
RETRIES = 2  # of a trial whose worker died


@contextmanager
def trial_workers(workers: int = 1, scheduler: str = "") -> Iterator[Executor | None]:
    """What `sweeps.sweep` runs its trials with, for as long as the block runs.

    A trial whose worker dies is run again by another one.

    Args:
        workers: trials side by side on this machine; with 1 they run in this process, and nothing is started.
        scheduler: the address of a running Dask scheduler, such as ``tcp://host:8786``, in place of workers here. Its workers need
            this package in the same version.

    Raises:
        CourseError: a bad number or address, Dask is missing, or no scheduler or worker answers.
    """
    if workers < 1:
        raise CourseError(f"--workers must be at least 1, not {workers}")
    if scheduler and workers > 1:
        raise CourseError("--workers starts workers here and --scheduler uses those of a cluster: give one of the two")
    if workers == 1 and not scheduler:
        yield None
        return
    if importlib.util.find_spec("distributed") is None:
        raise CourseError("several workers need Dask: pip install 'fine-tuning-lora-measured[cluster]', or leave out the flag")
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.comm.timeouts.connect": PATIENCE, "distributed.logging.distributed": "error"}):
        if scheduler:
            try:
                client = Client(scheduler, timeout=PATIENCE)
            except (OSError, ValueError, TimeoutError) as error:
                raise CourseError(
                    f"no Dask scheduler answers at {scheduler} ({error}): start one with `dask scheduler`, and workers with "
                    "`dask worker ADDRESS`"
                ) from None
            with client:
                if not client.scheduler_info(n_workers=-1)["workers"]:
                    raise CourseError(f"the scheduler {scheduler} has no workers: start some with `dask worker {scheduler}`")
                yield client.get_executor(pure=False, retries=RETRIES)
            return
        # One thread a worker, so that trials don't share a process's random states; no limit, since models are what they are.
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client.get_executor(pure=False, retries=RETRIES)
