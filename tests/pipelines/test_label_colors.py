import numpy as np

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL
from pipelines.label_colors import label_colors


def test_every_label_has_a_color_of_its_own_and_the_unknown_one_alone_is_dark_grey():
    colors = label_colors(19)
    assert len(np.unique(colors[:19], axis=0)) == 19
    is_grey = np.ptp(colors, axis=1) == 0
    assert np.flatnonzero(is_grey).tolist() == [0, UNKNOWN_LABEL]
    assert colors[0, 0] > colors[UNKNOWN_LABEL, 0]


def test_with_256_classes_none_is_unknown():
    assert np.ptp(label_colors(256)[UNKNOWN_LABEL]) > 0
