"""Ceph RGW: a real S3 server with object lock, from Debian's packages, in memory and on loopback."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrai_tests.servers.process import ServerAbsent, free_port, require_program, stop
from orchestrai_tests.servers.s3 import S3Server

_CONF = """[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{mon}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
ms_bind_port_min = {low}
ms_bind_port_max = {high}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
run_dir = {dir}
admin_socket = {dir}/$name.asok
pid_file = {dir}/$name.pid
log_file = {dir}/log/$name.log
crash_dir = {dir}
mon_data = {dir}/mon
osd_data = {dir}/osd
mgr_data = {dir}/mgr
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
mon_pg_warn_min_per_osd = 0
osd_objectstore = memstore
memstore_device_bytes = 8589934592

[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
rgw_lc_debug_interval = 10
rgw_enable_usage_log = false
rgw_run_sync_thread = false
"""
_PROGRAMS = ("monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin")


@contextlib.contextmanager
def rgw_server() -> Iterator[S3Server]:
    """Run a monitor, one in-memory OSD and a gateway; raises ServerAbsent where the packages are missing."""
    for program in _PROGRAMS:
        require_program(program, "radosgw ceph-mon ceph-osd ceph-mgr ceph-common")
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_cluster())
        except ServerAbsent:
            # a port that was free when it was chosen may have been taken since
            server = stack.enter_context(_cluster())
        yield server


@contextlib.contextmanager
def _cluster() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), free_port()
        for part in ("mon", "osd", "log", "mgr"):
            (folder / part).mkdir()
        mon, fsid, low = free_port(), str(uuid.uuid4()), 10_000 + os.getpid() % 20_000
        conf = folder / "ceph.conf"
        conf.write_text(_CONF.format(fsid=fsid, mon=mon, dir=folder, port=port, low=low, high=low + 200))

        def call(*command: str, ignore: bool = False) -> bytes:
            try:
                done = subprocess.run([*command, "-c", str(conf)], capture_output=True, timeout=45, check=False)
            except subprocess.TimeoutExpired:
                raise ServerAbsent(f"{command[0]} did not answer within 45 s") from None
            if done.returncode != 0 and not ignore:
                raise ServerAbsent(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-300:]!r}")
            return done.stdout

        def daemon(*command: str) -> "subprocess.Popen[bytes]":
            with (folder / "log" / f"{command[0]}.out").open("ab") as log:
                process = subprocess.Popen(
                    [*command, "-f", "-c", str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            stack.callback(stop, process)
            return process

        monmap, osd = str(folder / "monmap"), str(uuid.uuid4())
        call("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon}]", monmap)
        call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        daemon("ceph-mon", "-i", "a")
        call("ceph", "osd", "new", osd)
        call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        daemon("ceph-osd", "-i", "0")
        call("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", ignore=True)
        _wait_for_osd(lambda: call("ceph", "osd", "stat", "-f", "json"))
        gateway = daemon("radosgw", "-n", "client.rgw")
        _wait_for_http(port, gateway)
        account = ("--uid=test", "--display-name=test", "--access-key=testkey", "--secret-key=testsecret")
        call("radosgw-admin", "user", "create", *account)
        yield S3Server(f"http://127.0.0.1:{port}", "testkey", "testsecret")


def _wait_for_osd(stat: Callable[[], bytes]) -> None:
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline:
        found = json.loads(stat())
        if found.get("num_up_osds") == 1 and found.get("num_in_osds") == 1:
            return
        time.sleep(0.25)
    raise ServerAbsent("the OSD was not up within 45 s")


def _wait_for_http(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerAbsent(f"radosgw ended with code {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise ServerAbsent("radosgw did not answer within 45 s")
