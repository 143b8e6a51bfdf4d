"""The eight synthesis tasks, as data: what the encoder reads, what is written, what is given.

A new task is one more entry here (see ``docs/``): training, loading and generation read this
table and have no branch that names a task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nuwa_model.errors import UnknownNameError

Condition = Literal["none", "text", "sketch"]
Target = Literal["image", "video"]
Given = Literal["nothing", "first_frames", "outside_mask"]


@dataclass(frozen=True)
class Task:
    """One row of the paper's task table (``spec`` §5).

    Attributes:
        name: The paper's abbreviation.
        condition: What the encoder reads. ``none`` is the constant text ``None``.
        target: What the decoder writes.
        given: Which target tokens are known when generating; training never uses it.
    """

    name: str
    condition: Condition
    target: Target
    given: Given = "nothing"

    @property
    def is_made_of_text(self) -> bool:
        """Whether a text is all that it needs."""
        return self.condition == "text" and self.given == "nothing"

    @property
    def can_rank(self) -> bool:
        """Whether one sample can fit what it was made of better than another."""
        return self.condition != "none" or self.given == "outside_mask"


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("T2I", "text", "image"),
        Task("T2V", "text", "video"),
        Task("V2V", "none", "video", "first_frames"),
        Task("S2I", "sketch", "image"),
        Task("S2V", "sketch", "video"),
        Task("I2I", "none", "image", "outside_mask"),
        Task("TI2I", "text", "image", "outside_mask"),
        Task("TV2V", "text", "video", "first_frames"),
    )
}

NONE_TEXT = "None"
"""The constant condition of tasks that have none, as in the paper."""


def get_task(name: str) -> Task:
    """Look up a task by the paper's abbreviation, or say which are known."""
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name]
