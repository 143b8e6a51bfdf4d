"""What a data set tells of each of its videos and images."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class SourceRef:
    """One video or image, and what goes with it.

    Args:
        uri: Absolute path of the file.
        kind: ``video`` or ``image``.
        text: Captions; none is no error.
        sketch_uri: Label map of an image (a PNG), or folder of a video's label maps (a PNG for
            each source frame, in order of name); empty if there is none.
        split: ``train`` or ``validation``.
    """

    uri: str
    kind: Literal["video", "image"]
    text: tuple[str, ...] = ()
    sketch_uri: str = ""
    split: Split = "train"
