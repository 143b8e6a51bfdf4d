import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import memory

STEPS = """
import resource, torch
from pipelines import memory
{before}
def count_faults(steps):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        x = torch.ones({mib} * 2**18)
        x.mul(2).add(1).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
count_faults({steps})
print(count_faults({steps} * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is on Linux")
@pytest.mark.parametrize(("mib", "steps"), [(8, 30), (80, 4)])
def test_tensors_of_the_next_step_take_the_memory_that_those_of_the_last_one_left(mib, steps):
    def faults(before):
        program = [sys.executable, "-c", STEPS.format(before=before, mib=mib, steps=steps)]
        return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)

    # Relative, because a kernel may hand out larger pages.
    assert 4 * faults("memory.keep_freed()") < faults("")


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="this machine gives huge pages to all or to nobody",
)
def test_processes_started_later_hold_large_tensors_in_huge_pages(monkeypatch):
    def faults():
        program = [sys.executable, "-c", STEPS.format(before="", mib=40, steps=3)]
        return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)

    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    without = faults()
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")  # set again by what follows, and undone in the end
    memory.ask_huge_pages()
    assert 4 * faults() < without
