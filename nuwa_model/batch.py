"""What one training step eats."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from nuwa_model.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples of one task, all of one shape.

    Attributes:
        task: The task they belong to.
        target: Tokens to write, ``(b, s, h, w)``; an image has ``s = 1``.
        condition: Tokens to read, ``(b, s, h, w)``; a text of *l* tokens is ``(b, l, 1, 1)``.
        condition_mask: True at real condition tokens, false at padding, ``(b, t)`` in raster
            order. Sketches are all true.
        first_frame: Place of each target's first frame in its clip, from 0 to the model's frames
            less ``s``; ``None`` is 0 for all. An excerpt that did not say so would teach that clips
            begin anywhere.
        is_excerpt: The targets are parts of videos.
        given_frames: First frames of each target that its task is given: nothing is learned of
            them.
    """

    task: Task
    target: Int[Tensor, "b s h w"]
    condition: Int[Tensor, "b cs ch cw"]
    condition_mask: Bool[Tensor, "b t"]
    first_frame: Int[Tensor, " b"] | None = None
    is_excerpt: bool = False
    given_frames: int = 0

    @property
    def name(self) -> str:
        """What its loss is called: losses of whole videos and of excerpts do not compare."""
        return f"{self.task.name} excerpts" if self.is_excerpt else self.task.name

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        first = self.first_frame
        return Batch(
            task=self.task,
            target=self.target.to(device, non_blocking=True),
            condition=self.condition.to(device, non_blocking=True),
            condition_mask=self.condition_mask.to(device, non_blocking=True),
            first_frame=None if first is None else first.to(device, non_blocking=True),
            is_excerpt=self.is_excerpt,
            given_frames=self.given_frames,
        )
