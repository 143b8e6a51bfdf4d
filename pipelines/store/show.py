"""One clip as one picture: frames, sketch, tokens, and what the tokenizers make of them."""

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipelines import artifacts, storage
from pipelines.errors import StoreError
from pipelines.label_colors import label_colors
from pipelines.store.clip import Clip, find_clip
from pipelines.store.drawing import Strip, draw_sheet, token_colors
from pipelines.store.statistics import known_tokenizers

_NUM_CLASSES = 255  # a clip does not tell; no color but that of unknown depends on it


def show_clip(store: str, clip_id: str, target: str = "") -> str:
    """Draw a clip into a PNG.

    Args:
        store: Root of the store.
        clip_id: Its id, or as much of it as no other begins with.
        target: The PNG; ``{clip_id}.png`` in the working folder by default.

    Returns:
        Where it was written.

    Raises:
        StoreError: There is no such clip, or a picture is damaged.
        StorageError: The PNG cannot be written.
    """
    clip = find_clip(store, clip_id)
    strips = list(_strips(clip, known_tokenizers(store)))
    times = [f"{t / 1e6:.1f} s" for t in clip.frame_times_us]
    sheet = draw_sheet(f"{clip.kind} {clip.clip_id}", list(_notes(clip)), times, strips)
    stream = io.BytesIO()
    sheet.save(stream, "png", optimize=True)
    target = target or f"{clip.clip_id}.png"
    storage.replace_bytes(target, stream.getvalue())
    return target


def _notes(clip: Clip) -> Iterator[str]:
    yield from clip.text or ("no caption",)
    length = f"{len(clip.frames)} frames" if clip.kind == "video" else "1 frame"
    is_short = ", short: its source ended" if clip.is_short else ""
    yield f"{clip.dataset} · {clip.split} · {length}{is_short}"
    yield f"cut at {clip.start_us / 1e6:.1f} s from {clip.source_uri}"


def _strips(clip: Clip, known: dict[str, artifacts.Artifact]) -> Iterator[Strip]:
    for name, pictures, grids in (
        ("frames", clip.frames, clip.tokens),
        ("sketch", clip.sketch, clip.sketch_tokens),
    ):
        if pictures:
            pixels = [_pixels(picture, clip, is_sketch=name == "sketch") for picture in pictures]
            yield Strip((name, f"{pixels[0].shape[1]} × {pixels[0].shape[0]} pixels"), pixels)
        for fingerprint, tokens in grids.items():
            grid = " × ".join(map(str, tokens.shape))
            different = f"{len(np.unique(tokens)):,} different, one grey"
            about = (f"{grid} cells", different, fingerprint)
            yield Strip((f"tokens of {name}", *about), list(token_colors(tokens)))
            if fingerprint in known:
                made_by = ("from these tokens by", known[fingerprint].name)
                pixels = _reconstructed(known[fingerprint], tokens)
                yield Strip(("reconstruction", *made_by), pixels)


def _pixels(encoded: bytes, clip: Clip, *, is_sketch: bool) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            if is_sketch:
                return label_colors(_NUM_CLASSES)[np.asarray(picture.convert("L"))]
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise StoreError(
            f"A picture of clip {clip.clip_id} cannot be decoded: {error}: run `nuwa store verify`."
        ) from error


def _reconstructed(
    artifact: artifacts.Artifact, tokens: NDArray[np.uint16]
) -> list[UInt8[np.ndarray, "h w 3"]]:
    import torch  # only here: all else about stores is quick to start

    from nuwa_model.tokenizers.pixels import images_to_pixels, logits_to_labels
    from nuwa_model.tokenizers.vqgan import VQGAN

    model = VQGAN.from_pretrained(artifacts.local_folder(artifact))
    decoded = model.decode(torch.from_numpy(tokens.astype(np.int64)))
    if model.is_for_sketches:
        return list(label_colors(model.config.channels)[logits_to_labels(decoded).numpy()])
    return list(images_to_pixels(decoded).numpy())
