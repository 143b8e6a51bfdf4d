import subprocess
import sys
import time

import psutil
import pytest

STARTER = """
import sys, time
from flows.guard import start_guarded
guard = start_guarded([sys.executable, "-c", "import time; time.sleep(600)"])
print(guard.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_guarded_command_ends_with_its_starter_however_that_ends(end):
    starter = subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True)
    guard = psutil.Process(int(starter.stdout.readline()))
    deadline = time.monotonic() + 30
    while not (family := guard.children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert family
    getattr(starter, end)()
    starter.wait()
    starter.stdout.close()
    _, alive = psutil.wait_procs([guard, *family], timeout=30)
    assert not alive
