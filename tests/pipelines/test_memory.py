import resource
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from pipelines import memory
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    x = torch.ones(2**21)  # 8 MiB
    return (x * 2).sum() + (x + 1).sum()
for _ in range(4):
    step()
start = faults()
for _ in range(10):
    step()
print(faults() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is on Linux")
def test_tensors_of_the_next_step_take_the_memory_that_those_of_the_last_one_left():
    def faults(before):
        program = [sys.executable, "-c", COUNT.format(before=before)]
        return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)

    pages_a_tensor = 2**23 // resource.getpagesize()
    assert faults("memory.keep_freed()") < pages_a_tensor < faults("")
