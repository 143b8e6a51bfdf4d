"""Files of LPIPS in the published format, with weights of our own."""

import torch

# Of torchvision's VGG16: places and widths of its convolutions; "M" halves.
LAYERS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]


def published():
    """Both files as published: VGG16 with its classifier, and five rows of weights."""
    torch.manual_seed(0)
    vgg, place, before = {}, 0, 3
    for width in LAYERS:
        if width == "M":
            place += 1
            continue
        scale = (2 / (9 * before)) ** 0.5
        vgg[f"features.{place}.weight"] = torch.randn(width, before, 3, 3) * scale
        vgg[f"features.{place}.bias"] = torch.randn(width) * 0.1
        place, before = place + 2, width
    vgg["classifier.0.weight"] = torch.zeros(4, 4)
    widths = (64, 128, 256, 512, 512)
    lin = {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1) for i, w in enumerate(widths)}
    return vgg, lin


def write_lpips(folder):
    """The two files that a user would have."""
    for name, weights in zip(("vgg16.pth", "vgg.pth"), published(), strict=True):
        torch.save(weights, folder / name)
    return folder / "vgg16.pth", folder / "vgg.pth"
