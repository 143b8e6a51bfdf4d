import threading

import numpy as np
import pytest
import torch

from pipelines.loading.ahead import on_device

CPU = torch.device("cpu")


def picture(number):
    return np.full((1, 2, 2, 3), number, np.uint8)


def test_batches_come_in_order_and_whole():
    found = [int(pixels[0, 0, 0, 0]) for pixels in on_device(range(7), picture, CPU)]
    assert found == list(range(7))
    assert list(on_device([], picture, CPU)) == []


def test_the_next_batch_is_decoded_while_this_one_is_used_and_no_more_than_that():
    decoded = []
    second = threading.Event()

    def decode(number):
        decoded.append(number)
        if number == 1:
            second.set()
        return picture(number)

    batches = on_device(range(5), decode, CPU)
    next(batches)
    assert second.wait(timeout=10), "decoded without being asked for"
    batches.close()
    assert decoded == [0, 1]


def test_an_error_of_decoding_is_raised_where_the_pictures_are_used():
    def decode(number):
        if number == 2:
            raise ValueError("no picture")
        return picture(number)

    batches = on_device(range(5), decode, CPU)
    next(batches), next(batches)
    with pytest.raises(ValueError, match="no picture"):
        next(batches)
