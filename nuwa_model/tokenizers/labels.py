"""What the labels of a sketch mean, for those who draw, cut and read label maps."""

UNKNOWN_LABEL = 255
"""Where nobody knows the class, as COCO-Stuff, VSPW and Cityscapes write it in a byte."""


def has_unknown(num_classes: int) -> bool:
    """Whether ``UNKNOWN_LABEL`` means unknown; it is the last class where there are 256."""
    return num_classes <= UNKNOWN_LABEL
