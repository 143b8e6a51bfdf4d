import json

from pipelines.training.curve import Curve, decimate


def test_a_window_gives_one_record_a_task():
    curve = Curve()
    for task, loss in [("T2V", 1.0), ("T2V", 3.0), ("T2I", 5.0)]:
        curve.add(task, loss)
    assert curve.close_window(3, learning_rate=0.1) == [
        {"step": 3, "task": "T2I", "loss": 5.0, "num_steps": 1, "learning_rate": 0.1},
        {"step": 3, "task": "T2V", "loss": 2.0, "num_steps": 2, "learning_rate": 0.1},
    ]
    assert curve.close_window(4) == []


def test_a_restored_curve_goes_on_inside_its_window(tmp_path):
    curve, restored = Curve(), Curve()
    curve.add("T2V", 1.0)
    curve.close_window(1)
    curve.add("T2V", 2.0)
    restored.restore(json.loads(json.dumps(curve.state())))
    for c in (curve, restored):
        c.add("T2V", 4.0)
        c.close_window(3)
    assert restored.records == curve.records
    restored.write(str(tmp_path / "curve.jsonl"))
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == curve.records


def test_a_long_curve_is_thinned_to_its_last_point():
    records = [{"step": i, "task": "T2V", "loss": 0.0, "more": 1} for i in range(1001)]
    points = decimate(records)
    assert len(points) <= 500
    assert points[-1] == {"step": 1000, "task": "T2V", "loss": 0.0}
    assert decimate(records[:3]) == [
        {k: r[k] for k in ("step", "task", "loss")} for r in records[:3]
    ]
    assert decimate([]) == []


def test_a_thinned_curve_keeps_how_the_codebook_is_used():
    curve = Curve()
    curve.add("reconstruction", 1.0)
    records = curve.close_window(1, codes_alive=7, perplexity=2.5, gradient_norm=1.0)
    told = {"step": 1, "task": "reconstruction", "loss": 1.0, "codes_alive": 7, "perplexity": 2.5}
    assert decimate(records) == [told]
