"""Settings of the way from raw media to tokens."""

from dataclasses import dataclass, field
from typing import Literal

from nuwa_model.errors import ConfigError, refuse_outside
from pipelines.config.ranges import ANY, SHARE, SOME


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """Moving-shapes videos: how many, and what they show.

    Args:
        num_train: Videos for training. No scene comes twice, and of plain ones with one object
            there are 2,592.
        num_validation: Videos of another seed, kept out of training.
        size: Height and width of a video in pixels.
        textured_background: Draw a texture in place of a plain background.
        second_object: Add a second shape that moves on its own.
    """

    num_train: int = 24
    num_validation: int = 8
    size: int = 128
    textured_background: bool = False
    second_object: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        refuse_outside(self, num_train=ANY, num_validation=ANY, size=(8, 4096))


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Where videos and images come from.

    Args:
        name: Entry of ``pipelines.datasets.DATASETS``.
        root: Folder or ``s3://`` prefix the source reads. ``moving_shapes`` writes its videos
            there first; empty means ``media`` inside the store, or a folder of the user's cache
            if the store is not on this machine.
        media: Folder or ``s3://`` prefix of the videos, images and label maps, where only the
            annotations lie in ``root``; empty means that all lie there.
        validation_fraction: Share of sources held out, chosen by a stable hash of their path.
        shapes: What ``moving_shapes`` draws.
    """

    name: str = "moving_shapes"
    root: str = ""
    media: str = ""
    validation_fraction: float = 0.0
    shapes: ShapesConfig = field(default_factory=ShapesConfig)

    def __post_init__(self) -> None:
        """Refuse a share that is none, and media of a data set that writes its own."""
        refuse_outside(self, validation_fraction=SHARE)
        if self.media and self.name == "moving_shapes":
            raise ConfigError(
                f"dataset.media is {self.media}, but moving_shapes writes its videos into "
                "dataset.root; leave dataset.media empty."
            )


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """How media that lies behind an ``http://`` or ``https://`` address is downloaded.

    Args:
        concurrency: Files of one decoding task that are on their way, wait or are decoded at
            once; the temporary folder holds no more of them than that. With 1, each is downloaded
            when the one before it is decoded. Files of a bucket count too.
        max_bytes: Longest file that is taken.
        deadline_s: Seconds that one file may take, with all tries and redirects, but without the
            wait for its turn at a host.
        silence_s: Seconds without a byte after which a try is given up.
        tries: How often a download is begun that fails for a reason that may pass.
        backoff_s: Seconds before the second try; it doubles from try to try.
        requests_per_second: To one host, from one process.
        max_redirects: Redirects that one file may take.
        allow_hosts: Names of hosts that may have private, loopback or link-local addresses.
    """

    concurrency: int = 4
    max_bytes: int = 1 << 30
    deadline_s: float = 300.0
    silence_s: float = 20.0
    tries: int = 4
    backoff_s: float = 0.5
    requests_per_second: float = 5.0
    max_redirects: int = 5
    allow_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be downloaded."""
        refuse_outside(self, concurrency=SOME)
        for name in ("max_bytes", "deadline_s", "silence_s", "tries", "requests_per_second"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"fetch.{name} ({getattr(self, name)}) must be more than 0.")


@dataclass(frozen=True, kw_only=True)
class ClipsConfig:
    """How raw media becomes clips.

    Args:
        size: Height and width of a frame in pixels, after resize and center crop.
        num_frames: Frames of a full clip, at 2.5 frames a second.
        stride: Frames from the start of a clip of a longer video to the start of the next; 0 is
            ``num_frames``: side by side.
        cut_threshold: Change of the picture, in (0, 100], that ends a scene, so that no clip
            crosses it (10 is usual); 0 looks for no cuts. A folder of frames is one scene.
        frame_format: ``jpeg`` (quality 95) or ``png``.
        shard_sources: Sources decoded together into one Parquet file.
        num_workers: Decoding processes at once; 0 is one for each CPU that Ray has.
        deadline_s: Seconds one source may take before it is killed.
        max_error_fraction: Share of sources that may fail before the run does.
        verify_content: Hash files again even if size and time have not changed. Of label maps the
            times count all the same.
        retry_errors: Decode again the sources that ended in an error, and only those.
    """

    size: int = 32
    num_frames: int = 10
    stride: int = 0
    cut_threshold: float = 0.0
    frame_format: Literal["jpeg", "png"] = "jpeg"
    shard_sources: int = 64
    num_workers: int = 0
    deadline_s: float = 120.0
    max_error_fraction: float = 0.5
    verify_content: bool = False
    retry_errors: bool = False

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be cut."""
        refuse_outside(
            self,
            size=SOME,
            num_frames=SOME,
            stride=ANY,
            cut_threshold=(0, 100),
            shard_sources=SOME,
            num_workers=ANY,
            deadline_s=SOME,
            max_error_fraction=SHARE,
        )


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How clips become tokens.

    Args:
        batch_size: Frames encoded at once.
        precision: Of the encoder's convolutions. ``bfloat16`` is two to three times as fast where
            the machine multiplies it in hardware, but gives about one token in twenty another
            neighbor in the codebook, and which ones depends on what else is in the batch.
        shard_clips: Clips to a Parquet file.
        num_workers: Tokenizing actors; 0 is one for each GPU, or one where there is none.
    """

    batch_size: int = 64
    precision: Literal["float32", "bfloat16"] = "float32"
    shard_clips: int = 256
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be tokenized."""
        refuse_outside(self, batch_size=SOME, shard_clips=SOME, num_workers=ANY)
