"""Decoding job against bare ffmpeg processes that do the same to the same files, in one run.

python benchmarks/bench_decode.py [--videos 48] [--seconds 10]

Bare is one ffmpeg a file, one thread each, as many at once as there are cores: the same filter,
the same frames, JPEG out. From one to two cores both sides are pinned.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray

from pipelines.jobs.decode_clips import decode_clips
from pipelines.settings import load_config
from pipelines.video.ffmpeg import binary
from pipelines.video.sampling import FPS_FILTER
from pipelines.video.window import crop_filter, scale_filter

PRESET = "nuwa_870m"
SIZE = load_config(preset=PRESET).clips.size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--picture", default="1280x720")
    arguments = parser.parse_args()
    allowed = sorted(os.sched_getaffinity(0))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder, "videos"), arguments)
        for cores in sorted({1, min(2, len(allowed)), len(allowed)}):
            os.sched_setaffinity(0, allowed[:cores])
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
            job_rate(videos[: 8 * cores], folder, f"warm-{cores}")  # every worker starts
            bare = bare_rate(videos, cores)
            job = job_rate(videos, folder, f"store-{cores}")
            ray.shutdown()
            found[cores] = {"bare": bare, "job": job, "ratio": job / bare}
            print(
                f"{cores} cores: ffmpeg alone {bare:6.1f} videos/s, the job {job:6.1f}, "
                f"ratio {job / bare:.2f} (wanted 0.85)"
            )
    if 2 in found:
        gain = {side: found[2][side] / found[1][side] for side in ("bare", "job")}
        found["gain"] = {**gain, "ratio": gain["job"] / gain["bare"]}
        print(
            f"from 1 to 2 cores: ffmpeg ×{gain['bare']:.2f}, the job ×{gain['job']:.2f}, "
            f"ratio {found['gain']['ratio']:.2f} (wanted 0.9)"
        )
    print(json.dumps(found))


def make_videos(folder, arguments):
    """Different videos, so that nothing is a copy of another."""
    folder.mkdir()
    for index in range(arguments.videos):
        source = f"testsrc2=s={arguments.picture}:r=30:d={arguments.seconds}"
        turn = f"hue=h={index * 360 / arguments.videos}"
        command = [binary(), "-v", "error", "-f", "lavfi", "-i", source, "-vf", turn]
        encode = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, *encode, str(folder / f"{index:03d}.mp4")], check=True)
    return sorted(folder.iterdir())


def bare_rate(videos, cores):
    """Videos a second of plain processes."""
    filters = ",".join(
        [
            "fps=" + options(FPS_FILTER),
            "scale=" + options(scale_filter(SIZE)),
            "crop=" + options(crop_filter(SIZE)),
        ]
    )
    output = ["-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", "2", "-f", "image2pipe"]

    def decode(path):
        command = [binary(), "-v", "error", "-threads", "1", "-i", str(path), "-vf", filters]
        subprocess.run([*command, *output, "-y", "/dev/null"], check=True)

    started = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(decode, videos))
    return len(videos) / (time.perf_counter() - started)


def options(arguments):
    """Filter options as ffmpeg's command line wants them."""
    return ":".join(f"{name}='{value}'" for name, value in arguments.items())


def job_rate(videos, folder, name):
    """Videos a second of the job, from listing to the last commit."""
    root = Path(folder, f"{name}-videos")
    root.mkdir()
    for path in videos:
        (root / path.name).hardlink_to(path)
    config = load_config(
        preset=PRESET,
        overrides=[
            "dataset.name=folder",
            f"dataset.root={root}",
            f"store={folder}/{name}",
            "clips.shard_sources=4",
        ],
    )
    started = time.perf_counter()
    record = decode_clips(config)
    seconds = time.perf_counter() - started
    assert record["with_clips"] == len(videos), record
    return len(videos) / seconds


if __name__ == "__main__":
    main()
