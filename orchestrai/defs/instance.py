"""The Dagster instance of the embedded default: SQLite under the home folder, the same that `make dev` opens."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from orchestrai.pipeline.instance.instance_options import InstanceOptions, instance_options
from orchestrai.pipeline.instance.settings_file import EMBEDDED, write_settings
from orchestrai.settings import Settings

PROCESS_TAG = "orchestrai/process"


def site_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance that the settings name, storage, logs and launcher included: the one way for a command to open it."""
    return open_instance(settings.home, instance_options(settings))


def open_instance(home: Path, options: InstanceOptions = EMBEDDED) -> dg.DagsterInstance:
    """The instance that DAGSTER_HOME names, else the one under `home`; made on first use. Raises ConfigError for a folder that is not."""
    # Dagster makes its tables without a lock: of two first commands one would find half of them there
    with _alone(home):
        folder = write_settings(home, options)
        instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder)))
        _end_dead_runs(instance)
    return instance


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".dagster.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def process_tag() -> dict[str, str]:
    """The tag of a run that this process executes itself, by which another one sees that it died."""
    return {PROCESS_TAG: f"{_here()}/{os.getpid()}/{_started(os.getpid())}"}


def _here() -> str:
    """This machine, as far as numbers of processes go: containers that share the name of their host have numbers of their own."""
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        space = ""
    return f"{socket.gethostname()}@{space}"


def _started(pid: int) -> str:
    """When a process of this machine started, in the kernel's own count; nothing where that is not to be had."""
    try:
        # the name of the program, in parentheses, may hold blanks
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Free the pools of runs whose process was killed: no daemon looks after what a command executes itself."""
    free_pools(instance)
    log = instance.event_log_storage
    for run_id in log.get_concurrency_run_ids() if log.supports_global_concurrency_limits else ():
        run = instance.get_run_by_id(run_id)
        if run is not None and runs_here_no_more(run.tags.get(PROCESS_TAG, "")):
            end_run(instance, run_id)


def end_run(instance: dg.DagsterInstance, run_id: str) -> bool:
    """End a run whose process is gone, and free its pools; False where it was over before, as that process had said meanwhile."""
    run, log = instance.get_run_by_id(run_id), instance.event_log_storage
    if run is None or run.is_finished:
        return False
    instance.report_run_failed(run, "the process that executed this run is gone")
    if log.supports_global_concurrency_limits:
        log.free_concurrency_slots_for_run(run_id)
    return True


def free_pools(instance: dg.DagsterInstance) -> list[str]:
    """Free the pools that runs hold which are over; their ids.

    A code server reports a run as failed whose worker was killed, and frees nothing: whatever writes the same asset would wait for ever.
    """
    log, freed = instance.event_log_storage, []
    for run_id in sorted(log.get_concurrency_run_ids()) if log.supports_global_concurrency_limits else ():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            log.free_concurrency_slots_for_run(run_id)
            freed.append(run_id)
    return freed


def runs_here_no_more(tag: str) -> bool:
    """Whether the process that a tag names was one of this machine and is gone; false of another machine's, and of no tag."""
    host, _, rest = tag.partition("/")
    pid, _, started = rest.partition("/")
    if host != _here() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # another process may have got the number since
    return bool(started) and started != _started(int(pid))
