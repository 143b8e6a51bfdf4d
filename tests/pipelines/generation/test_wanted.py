import pytest

from nuwa_model.errors import ConfigError, UnknownNameError
from nuwa_model.tasks import TASKS
from pipelines.generation.wanted import task_for


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("T2I", ["text", "guidance", "seed"]),
        ("t2v", ["text"]),
        ("V2V", ["video", "given-frames"]),
        ("V2V", ["image"]),
        ("S2I", ["sketch"]),
        ("S2V", ["sketch"]),
        ("I2I", ["image"]),
        ("I2I", ["image", "mask"]),
        ("TI2I", ["text", "image", "mask", "guidance"]),
        ("TV2V", ["text", "video", "given-frames", "guidance"]),
    ],
)
def test_a_task_takes_what_it_reads(task, said):
    assert task_for(task, said) is TASKS[task.upper()]


@pytest.mark.parametrize(
    ("task", "said", "told"),
    [
        ("T2I", [], r"T2I needs --text \(a caption\)"),
        ("T2I", ["text", "mask"], r"T2I has no use for --mask.*\(I2I, TI2I\)"),
        (
            "T2I",
            ["text", "given-frames"],
            r"no use for --given-frames.*\(TV2V, V2V\)|\(V2V, TV2V\)",
        ),
        ("I2I", ["image", "text"], "I2I has no use for --text"),
        ("I2I", ["image", "guidance"], "I2I has no use for --guidance"),
        ("I2I", ["mask"], "I2I needs --image"),
        ("S2V", ["sketch", "video"], "S2V has no use for --video"),
        ("S2I", [], "S2I needs --sketch"),
        ("V2V", [], "V2V needs --video .* or --image"),
        ("V2V", ["image", "video"], "not both"),
        ("V2V", ["video", "mask"], "V2V has no use for --mask"),
        ("TV2V", ["video"], "TV2V needs --text"),
    ],
)
def test_a_task_refuses_what_it_lacks_and_what_it_would_ignore(task, said, told):
    with pytest.raises(ConfigError, match=told) as caught:
        task_for(task, said)
    assert "\n" not in str(caught.value)


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'TI2I'"):
        task_for("TII2I", ["text"])
