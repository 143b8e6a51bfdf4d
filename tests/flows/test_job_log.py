import pytest

from flows.job_log import JobLog

WHOLE = 'hello\nprogress a 1/2\nerror: it is late.\n{"job": "nap", "seconds": 1.0}\nbye'


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_every_line_comes_exactly_once_however_the_log_grows(step):
    log, seen = JobLog(), []
    for end in range(0, len(WHOLE), step):
        seen += log.new_lines(WHOLE[:end], is_whole=False)
    seen += log.new_lines(WHOLE, is_whole=True)
    assert seen == WHOLE.split("\n")


def test_the_record_and_the_error_are_found_among_other_lines():
    log = JobLog()
    list(log.new_lines(WHOLE, is_whole=True))
    assert log.record == {"job": "nap", "seconds": 1.0}
    assert log.error == "it is late."
    assert log.last_line == "bye"


def test_a_bug_is_told_from_what_the_cluster_lost():
    bug, loss = JobLog(), JobLog()
    list(bug.new_lines("Traceback\nKeyError: 'a'\n", is_whole=True))
    list(loss.new_lines("Traceback\nray.exceptions.ActorDiedError: gone\n", is_whole=True))
    assert not bug.blames_the_cluster
    assert loss.blames_the_cluster
