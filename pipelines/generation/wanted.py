"""What a person asks for, and whether a task can use it. Torch-free."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nuwa_model.errors import ConfigError
from nuwa_model.tasks import TASKS, Task, get_task
from pipelines.config import GenerationConfig


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Samples of one task; empty means that nothing was said.

    Attributes:
        task: Which.
        out: The file to write, or what the names of several begin with.
        texts: One or more, for a task that reads text.
        image: The picture that is completed or changed, or the one frame that a video begins with.
        mask: Where the picture is painted; empty is its lower half.
        video: Whose first frames are given.
        sketch: A label map, or a folder with one for each frame.
        num_frames: Of a video; 0 is as many as the model's window holds.
        settings: How many samples, how they are drawn, and how many frames are given.
    """

    task: Task
    out: Path
    texts: tuple[str, ...] = ()
    image: str = ""
    mask: str = ""
    video: str = ""
    sketch: str = ""
    num_frames: int = 0
    settings: GenerationConfig = field(default_factory=GenerationConfig)

    @property
    def num_candidates(self) -> int:
        """Of each sample."""
        return self.settings.num_candidates.get(self.task.name, 1)

    @property
    def samples(self) -> list[tuple[str, int]]:
        """Text and number of each sample; the numbers of every text begin at 0.

        So a text's samples are the same whatever other texts are asked for.
        """
        numbers = range(self.settings.num_samples)
        return [(text, number) for text in self.texts or ("",) for number in numbers]


def task_for(name: str, said: Collection[str]) -> Task:
    """The task of a name, which must get all that it reads and nothing else.

    Args:
        name: The paper's abbreviation, in any case.
        said: The options that were given, without their dashes.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: An option is missing, or is of no use to this task.
    """
    task = get_task(name.upper() if name.upper() in TASKS else name)
    needs, uses = _needs(task), _uses(task)
    for option in sorted(set(said) & set(_ABOUT) - uses):
        others = [other.name for other in TASKS.values() if option in _uses(other)]
        raise ConfigError(
            f"{task.name} has no use for --{option}: leave it out, or take a task that has "
            f"({', '.join(others)})."
        )
    for choice in needs:
        found = [option for option in choice if option in said]
        ways = " or ".join(f"--{option} ({_ABOUT[option]})" for option in choice)
        if not found:
            raise ConfigError(f"{task.name} needs {ways}.")
        if len(found) > 1:
            raise ConfigError(f"{task.name} takes {ways}, not both.")
    return task


_ABOUT: Mapping[str, str] = {
    "text": "a caption",
    "guidance": "how strongly the caption counts",
    "sketch": "a PNG label map, or a folder of them for a video",
    "image": "a picture",
    "mask": "where to paint",
    "video": "a video whose first frames are given",
    "given-frames": "how many of its frames are given",
    "frames": "how long the video is",
}
"""Options that only some tasks use; all others are for every task."""


def _needs(task: Task) -> list[tuple[str, ...]]:
    """Options that a task cannot do without; one of each tuple."""
    conditions = [(task.condition,)] if task.condition in ("text", "sketch") else []
    given: Mapping[str, list[tuple[str, ...]]] = {
        "nothing": [],
        "outside_mask": [("image",)],
        "first_frames": [("video", "image")],
    }
    return [*conditions, *given[task.given]]


def _uses(task: Task) -> set[str]:
    """Options that a task can use."""
    needed = {option for choice in _needs(task) for option in choice}
    more = {"text": {"guidance"}, "image": {"mask"}, "video": {"given-frames"}}
    if "video" in needed:
        del more["image"]
    length = {"frames"} if task.target == "video" else set()
    return needed.union(length, *(uses for option, uses in more.items() if option in needed))
