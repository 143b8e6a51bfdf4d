"""Curves drawn for a page."""

from xml.etree import ElementTree

import pytest

from pipelines.evaluation.charts import curve_chart, running_mean


def test_a_chart_is_one_svg_element_with_the_ink_of_its_page():
    drawing = curve_chart({"T2V": [(0, 2.0), (10, 1.0)], "V2V": [(0, 3.0)]}, name="a", value="loss")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "currentColor" in drawing
    assert {"T2V", "V2V", "step", "loss"} <= set(ElementTree.fromstring(drawing).itertext())


def test_two_charts_on_a_page_share_no_inner_name():
    one, other = (
        {
            element.get("id")
            for element in ElementTree.fromstring(
                curve_chart({"x": [(0, 1.0), (1, 2.0)]}, name=name, value="loss")
            ).iter("{http://www.w3.org/2000/svg}clipPath")
        }
        for name in ("one", "other")
    )
    assert one
    assert one.isdisjoint(other)


def test_the_same_curves_give_the_same_drawing():
    curves = {"x": [(step, step % 5) for step in range(50)]}
    assert curve_chart(curves, name="a", value="loss") == curve_chart(
        curves, name="a", value="loss"
    )


def test_a_straight_line_is_its_own_running_mean():
    line = [3.0 * step for step in range(100)]
    assert running_mean(line) == pytest.approx(line)


def test_a_running_mean_flattens_noise_and_keeps_both_ends():
    noise = [1.0, -1.0] * 100
    smooth = running_mean(noise)
    assert max(abs(value) for value in smooth[10:-10]) < 0.1
    assert (smooth[0], smooth[-1]) == (noise[0], noise[-1])
