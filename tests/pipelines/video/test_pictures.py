import io

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.video.pictures import encode_frame, encode_labels, read_image
from tests.pipelines.video.media import clouds, corners, psnr, quadrants


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_the_way_its_camera_was_held(tmp_path, orientation):
    turn_back = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    picture = Image.fromarray(quadrants(64))
    for step in turn_back.get(orientation, []):
        picture = picture.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "p.jpg", quality=95, exif=exif)
    frame, _, _ = read_image(str(tmp_path / "p.jpg"), size=32)
    assert corners(frame) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_every_kind_of_pixel_are_read(tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((40, 40), 65535, np.uint16))
    else:
        picture = Image.new("RGB", (40, 40), "white").convert(mode)
    name = "p.tif" if mode == "CMYK" else "p.png"
    picture.save(tmp_path / name)
    frame, _, _ = read_image(str(tmp_path / name), size=16)
    assert frame.min() >= 254


def test_what_is_transparent_is_white(tmp_path):
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "p.png")
    frame, _, _ = read_image(str(tmp_path / "p.png"), size=16)
    assert frame.min() == 255


def test_a_photo_that_breaks_off_is_truncated(tmp_path):
    Image.fromarray(clouds(200, 200)).save(tmp_path / "p.jpg")
    data = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "p.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="truncated"):
        read_image(str(tmp_path / "p.jpg"), size=16)


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a"])
def test_a_file_that_is_no_picture_is_unreadable(tmp_path, content):
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(MediaError, match="container_unreadable"):
        read_image(str(tmp_path / "p.png"), size=16)


def test_a_huge_picture_is_refused_before_it_takes_memory(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "p.png")
    with pytest.raises(MediaError, match="too_large"):
        read_image(str(tmp_path / "p.png"), size=16)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_an_animation_is_not_taken_for_a_photo(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 90, 250)]
    path = str(tmp_path / f"p.{suffix}")
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(MediaError, match=r"unsupported_codec: an animation of 3 frames"):
        read_image(path, size=16)


def test_png_keeps_every_bit_and_jpeg_nearly_all():
    frame = clouds(64, 64)
    decoded = {
        name: np.asarray(Image.open(io.BytesIO(encode_frame(frame, name))))
        for name in ("png", "jpeg")
    }
    assert np.array_equal(decoded["png"], frame)
    assert psnr(decoded["jpeg"], frame) > 40


def test_labels_keep_every_bit():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_labels(labels)))), labels)
