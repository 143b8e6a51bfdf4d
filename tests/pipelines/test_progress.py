import time

from pipelines.progress import Progress, parse_progress


def shown(capsys):
    return [parse_progress(line) for line in capsys.readouterr().out.splitlines()]


def test_a_start_up_is_not_taken_for_the_pace_of_the_work(capsys):
    with Progress("train", 100, every_s=0) as progress:
        time.sleep(1.0)  # processes start
        progress.advance()
        time.sleep(0.1)
        progress.advance(9, "loss 2.31")
    zero, first, tenth, _end = shown(capsys)
    assert (zero.done, zero.note, first.done, first.note) == (0, "", 1, "")
    loss, eta = tenth.note.split(" eta ")
    assert loss == "loss 2.31"
    assert 1 <= float(eta.removesuffix("s")) < 5  # 90 more at nine in a tenth of a second


def test_work_that_is_done_has_no_time_left(capsys):
    with Progress("decode clips", 2, every_s=0) as progress:
        progress.advance()
        progress.advance()
    assert [line.note for line in shown(capsys)] == ["", "", "", ""]
