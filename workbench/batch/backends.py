"""Where cells run: processes of this machine, or a Dask cluster. The same call with the same specs
gives the same bytes.

Both have `slots` (how many cells may be in flight), `submit(spec)` -> a concurrent.futures.Future
of the outcome, `phases` (key -> what that cell is doing), and `close()`.
"""

from __future__ import annotations

import os
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

from workbench.batch.spec import Outcome, Spec
from workbench.batch.worker.pool import Warm, execute
from workbench.errors import InputError, missing_package


class Processes:
    """This machine, `workers` cells at a time (default: cores // threads)."""

    def __init__(self, workers: int | None = None, threads: int = 1):
        # The cores this process may use, which a container or taskset may have cut.
        self.slots = workers or max(1, len(os.sched_getaffinity(0)) // threads)
        self.phases: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(self.slots)

    def submit(self, spec: Spec) -> Future:
        key = spec.key
        # Written by the threads of the pool, read by the live view: one assignment each, so no
        # lock.
        self.phases[key] = "start"
        return self._pool.submit(execute, spec, lambda phase: self.phases.update({key: phase}))

    def close(self) -> None:
        Warm.close_all()  # ends what is in flight
        self._pool.shutdown(cancel_futures=True)


PATIENCE = 10  # seconds in which a scheduler has to answer


class Cluster:
    """An existing Dask cluster: its workers need this package, not this file system. Give each
    worker one thread.
    """

    def __init__(self, address: str):
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise missing_package(error) from None
        try:
            # Not the default client: the user's own Dask code in this process keeps its cluster.
            self._client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address} ({error}); check host and port."
            ) from None
        self.phases: dict[str, str] = {}
        self._topic = f"workbench-{uuid.uuid4().hex}"
        self._client.subscribe_topic(self._topic, lambda event: self.phases.update(event[1]))
        # Not pure: Dask would hand the result of an equal spec to a cell that is to be run again.
        self._executor = self._client.get_executor(pure=False)

    @property
    def slots(self) -> int:
        """No more cells than threads: a cell that waits on a worker is charged with that worker's
        death.
        """
        return max(1, sum(self._client.nthreads().values()))

    def submit(self, spec: Spec) -> Future:
        self.phases[spec.key] = "start"
        return self._executor.submit(_execute_on_worker, spec, self._topic)

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.close()


def _execute_on_worker(spec: Spec, topic: str) -> Outcome:
    from distributed import get_worker

    # Phases travel as events: a worker has no other way to talk before it is done.
    worker = get_worker()
    return execute(spec, lambda phase: worker.log_event(topic, {spec.key: phase}))
