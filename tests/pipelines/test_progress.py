import pytest

from pipelines import progress
from pipelines.progress import Progress, parse_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(capsys):
    return [parse_progress(line) for line in capsys.readouterr().out.splitlines()]


def test_a_start_up_is_not_taken_for_the_pace_of_the_work(capsys, clock):
    with Progress("train", 100, every_s=0) as bar:
        clock[0] += 40  # processes start
        bar.advance()
        clock[0] += 18
        bar.advance(9, "loss 2.31")
    zero, first, tenth, _end = shown(capsys)
    assert (zero.done, zero.note, first.done, first.note) == (0, "", 1, "")
    assert tenth.note == "loss 2.31 eta 180s"  # 90 more, two seconds each


def test_work_that_is_done_has_no_time_left(capsys, clock):
    with Progress("decode clips", 2, every_s=0) as bar:
        bar.advance()
        clock[0] += 1
        bar.advance()
    assert [line.note for line in shown(capsys)] == ["", "", "", ""]
