"""Curves drawn for a page."""

from xml.etree import ElementTree

import pytest

from pipelines.evaluation.charts import curve_chart, dot_chart, running_mean


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


def test_a_dot_chart_has_a_row_for_each_group_and_a_dot_for_each_value():
    groups = {"VQ-VAE": [3.0, 3.5, 4.0], "VQ-GAN": [1.0, 1.25]}
    drawing = ElementTree.fromstring(dot_chart(groups, name="a", value="FID[x]", floor=0.5))
    assert {"VQ-VAE", "VQ-GAN", "FID[x]"} <= set(drawing.itertext())
    colors = ("#4c8dff", "#e0793a")
    dots = {
        color: [
            use
            for use in drawing.iter("{http://www.w3.org/2000/svg}use")
            if f"fill: {color}" in use.get("style", "") and "opacity" in use.get("style", "")
        ]
        for color in colors
    }
    assert [len(dots[color]) for color in colors] == [3, 2]
