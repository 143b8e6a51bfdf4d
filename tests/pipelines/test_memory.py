import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from pipelines import memory
{before}
def count_faults(steps):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        x = torch.ones(2**21)  # 8 MiB
        x.mul(2).add(1).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
count_faults(10)
print(count_faults(120))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is on Linux")
def test_tensors_of_the_next_step_take_the_memory_that_those_of_the_last_one_left():
    def faults(before):
        program = [sys.executable, "-c", STEPS.format(before=before)]
        return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)

    # Relative, because a kernel may hand out larger pages.
    assert 4 * faults("memory.keep_freed()") < faults("")
