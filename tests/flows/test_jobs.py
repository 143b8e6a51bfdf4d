import asyncio
import time

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from ray.job_submission import JobStatus

from flows import cluster, interruption
from flows.errors import JobLostError
from flows.job_server import JobServer
from flows.jobs import MOST_POLL_S, POLL_S, Job, pause_s, run_job
from pipelines.errors import JobFailedError

pytestmark = pytest.mark.usefixtures("prefect", "local_head")


@flow
def call(jobs):
    """What any flow of ours does: run jobs by name."""
    return flow_run.id, [run_job(job) for job in jobs]


def list_jobs():
    return JobServer(cluster.connect())._connect().list_jobs()


def attempts(run_id):
    return [job for job in list_jobs() if (job.metadata or {}).get("flow_run") == run_id]


def artifact_keys():
    async def read():
        async with get_client() as client:
            return {artifact.key for artifact in await client.read_artifacts()}

    return asyncio.run(read())


def test_a_job_returns_its_record_and_leaves_links_and_progress(small):
    run_id, (record,) = call([Job(name="decode_clips", overrides=small)])
    assert (record["job"], record["sources"], record["with_clips"]) == ("decode_clips", 3, 3)
    keys = {f"{what}-decode-clips" for what in ("ray", "progress", "record")}
    assert keys <= artifact_keys()
    assert len(attempts(run_id)) == 1


def test_a_flow_run_that_asks_again_joins_the_job_it_has(small):
    job = Job(name="decode_clips", overrides=small)
    run_id, (first, second) = call([job, job])
    assert first == second
    assert len(attempts(run_id)) == 1


def test_a_users_mistake_is_one_line_and_is_not_retried(small, tmp_path):
    missing = tmp_path / "nothing"
    overrides = (*small, "dataset.name=folder", f"dataset.root={missing}")
    with pytest.raises(JobFailedError) as failure:
        call([Job(name="decode_clips", overrides=overrides)])
    assert not isinstance(failure.value, JobLostError)
    assert str(failure.value).startswith("decode_clips: ")
    assert str(missing) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_job_that_does_not_exist_is_a_bug_and_names_the_log():
    with pytest.raises(JobFailedError, match=r"No module named pipelines\.jobs\.nap.*whole log"):
        call([Job(name="nap")])


def test_the_command_of_a_job_can_be_pasted():
    job = Job(
        name="score", preset="demo", run="my run.yaml", overrides=("store=a b", "model.dim=8")
    )
    assert job.argv == [
        *("python", "-m", "pipelines.jobs.score", "--preset", "demo"),
        *("--run", "my run.yaml", "--set", "store=a b", "model.dim=8"),
    ]


def test_submission_ids_differ_by_run_settings_and_attempt():
    jobs = [Job(name="score"), Job(name="score", overrides=("model.dim=8",))]
    ids = {job.submission_id(run, n) for job in jobs for run in ("r1", "r2") for n in (1, 2)}
    assert len(ids) == 8


def test_a_signal_that_python_dropped_still_stops_the_job(small, tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "_asked", [KeyboardInterrupt()])
    many = (*small, "dataset.shapes.num_train=5000")
    with pytest.raises(KeyboardInterrupt):
        call([Job(name="decode_clips", overrides=many)])
    (job,) = [job for job in list_jobs() if str(tmp_path) in job.entrypoint]
    deadline = time.monotonic() + 60
    while not job.status.is_terminal() and time.monotonic() < deadline:
        time.sleep(0.2)
        job = JobServer(cluster.connect()).find(job.submission_id)
    assert job.status is JobStatus.STOPPED


@pytest.mark.parametrize(
    ("age_s", "look_s", "pause"),
    [(0, 0.01, POLL_S), (50, 0.01, 1), (10_000, 0.01, MOST_POLL_S), (0, 0.5, 5)],
)
def test_a_job_is_looked_at_less_often_the_longer_it_runs_or_a_look_takes(age_s, look_s, pause):
    assert pause_s(age_s, look_s) == pause
