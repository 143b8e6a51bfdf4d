import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from pipelines.errors import TrainingError
from pipelines.training.owner import Owner


def write_record(root, **values):
    me = psutil.Process()
    record = {
        "host": os.uname().nodename,
        "pid": me.pid,
        "process_started": me.create_time(),
        "renewed": time.time(),
        **values,
    }
    (root / "owner").mkdir(parents=True, exist_ok=True)
    (root / "owner/00000001.json").write_text(json.dumps(record))


def records(root):
    return sorted(path.name for path in (root / "owner").iterdir())


def test_a_second_run_names_the_owner_and_stops(tmp_path):
    with Owner(str(tmp_path)) as owner:
        owner.acquire()
        with pytest.raises(TrainingError, match=f"process {os.getpid()} on"):
            Owner(str(tmp_path), patience_s=0).acquire()
    Owner(str(tmp_path), patience_s=0).acquire()  # free again


def test_a_killed_owner_is_replaced_at_once(tmp_path):
    command = (
        "import sys, time; from pipelines.training.owner import Owner;"
        f"Owner({str(tmp_path)!r}).acquire(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(TrainingError, match=f"process {process.pid} on"):
        Owner(str(tmp_path), patience_s=0).acquire()
    process.kill()
    owner = Owner(str(tmp_path), patience_s=5)
    owner.acquire()  # not even waited for: a zombie owns nothing
    assert records(tmp_path) == ["00000002.json"]
    process.wait()
    process.stdout.close()


def test_another_process_that_got_the_same_number_is_not_the_owner(tmp_path):
    write_record(tmp_path, process_started=1.0)
    Owner(str(tmp_path), patience_s=0).acquire()


def test_an_owner_on_another_host_counts_while_its_lease_lasts(tmp_path):
    write_record(tmp_path, host="elsewhere")
    with pytest.raises(TrainingError, match="on elsewhere"):
        Owner(str(tmp_path), lease_s=60, patience_s=0).acquire()
    write_record(tmp_path, host="elsewhere", renewed=time.time() - 61)
    Owner(str(tmp_path), lease_s=60, patience_s=0).acquire()


def test_a_lease_is_renewed_while_its_owner_lives(tmp_path):
    with Owner(str(tmp_path), lease_s=0.2) as owner:
        owner.acquire()
        first = json.loads((tmp_path / "owner/00000001.json").read_text())["renewed"]
        time.sleep(0.3)
        assert json.loads((tmp_path / "owner/00000001.json").read_text())["renewed"] > first


def test_who_lost_a_run_stops_before_writing(tmp_path):
    with Owner(str(tmp_path)) as owner:
        owner.acquire()
        owner.check()
        (tmp_path / "owner/00000002.json").write_text(
            json.dumps({"host": "elsewhere", "pid": 7, "process_started": 0, "renewed": 0})
        )
        with pytest.raises(TrainingError, match="process 7 on elsewhere"):
            owner.check()
