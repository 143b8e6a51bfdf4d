"""The one door from flows to Ray Jobs.

Prefect retries, Ray executes, storage holds the truth: a job that ran before finds its artifact
complete, and a job that was cut short goes on, so submitting one again is always safe.
"""

import hashlib
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run as current_run
from prefect.tasks import Task
from ray.job_submission import JobDetails, JobStatus

from flows import cluster, interruption
from flows.errors import JobLostError
from flows.job_log import JobLog
from flows.job_progress import JobProgress
from flows.job_server import JobServer, has_failed
from pipelines.errors import JobFailedError
from pipelines.progress import parse_progress

POLL_S = 0.25
"""Least seconds between looks at a job."""

MOST_POLL_S = 2.0
"""Seconds between looks at a job that has run for long."""


STOP_WAIT_S = 60.0
"""Seconds that a job may take to end when its flow is interrupted; another Ctrl-C does not wait."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command line that any machine holding this repository can run.

    Args:
        name: Module in ``pipelines.jobs``.
        preset: Settings to start from.
        run: A YAML file of settings.
        overrides: Dotted assignments that win, such as ``training.steps=5``.
    """

    name: str
    preset: str = "tiny"
    run: str | None = None
    overrides: Sequence[str] = ()

    @property
    def argv(self) -> list[str]:
        """What a person would type to run this job by hand."""
        argv = ["python", "-m", f"pipelines.jobs.{self.name}", "--preset", self.preset]
        argv += [] if self.run is None else ["--run", self.run]
        return [*argv, *(["--set", *self.overrides] if self.overrides else [])]

    def submission_id(self, run_id: str, attempt: int) -> str:
        """Name of one attempt: the same in a flow run that starts again, never in another."""
        settings = hashlib.sha256(shlex.join(self.argv).encode()).hexdigest()[:6]
        return f"{self.name}-{settings}-{run_id}-a{attempt}"


def is_worth_retrying(task: Task, task_run: TaskRun, state: State) -> bool:
    """Whether a task failed for a reason that may pass: a user's mistake does not."""
    return isinstance(state.result(raise_on_failure=False), JobLostError)


@task(
    name="job",
    task_run_name="{job.name}",
    retries=2,
    retry_delay_seconds=[2, 15],
    retry_condition_fn=is_worth_retrying,
)
def run_job(job: Job) -> dict[str, Any]:
    """Run a job to its end and return the record it printed last.

    Raises:
        JobFailedError: The job said what was wrong.
        JobLostError: It was killed, or its cluster went away.
    """
    here = cluster.connect()
    _announce(here.url)
    server = JobServer(here)
    submission_id = _start(server, job, is_here=here.is_here)
    details: JobDetails | None = None
    log = JobLog()
    try:
        details = _follow(server, job, submission_id, log)
    finally:
        if details is None:  # interrupted, by whatever: the job must not go on alone
            logger = get_run_logger()
            logger.info("stopping %s; a training saves a checkpoint first", job.name)
            server.stop(submission_id, wait_s=STOP_WAIT_S)
    record = _outcome(job, details, log, server.page(submission_id))
    create_table_artifact(
        [{"what": name, "value": str(value)} for name, value in record.items()],
        key=f"record-{job.name.replace('_', '-')}",
        description=f"What {job.name} did",
    )
    return record


@cache
def _announce(url: str) -> None:
    get_run_logger().info("Ray dashboard: %s", url)


def stop_jobs(flow: Flow, flow_run: FlowRun, state: State) -> None:
    """Stop what a cancelled or crashed flow run left running; a hook, run by Prefect."""
    if cluster.given_address() is None:
        return  # a local head ends with its flow, and its jobs with it
    server = JobServer(cluster.connect())
    for submission_id in server.running(flow_run=str(flow_run.id)):
        server.stop(submission_id)


def _start(server: JobServer, job: Job, *, is_here: bool) -> str:
    """Submit the job, or join it where this flow run already has it running."""
    run_id = str(current_run.root_flow_run_id)
    attempt, details = 1, server.find(job.submission_id(run_id, 1))
    while details is not None and has_failed(details):
        attempt += 1
        details = server.find(job.submission_id(run_id, attempt))
    submission_id = job.submission_id(run_id, attempt)
    logger = get_run_logger()
    if attempt > 1:
        logger.info("%s was cut short; attempt %d goes on from what is finished", job.name, attempt)
    if details is None:
        logger.info("%s", shlex.join(job.argv))
        about = {"flow_run": run_id, "job_name": job.name}  # the name is what the dashboard shows
        server.submit(submission_id, _command(job, is_here=is_here), about)
    else:
        logger.info("joins %s", submission_id)
    create_link_artifact(
        server.page(submission_id),
        link_text=f"{job.name} on the Ray dashboard",
        key=f"ray-{job.name.replace('_', '-')}",
        description=shlex.join(job.argv),
    )
    return submission_id


def _command(job: Job, *, is_here: bool) -> str:
    """The job's command line where it will run.

    On this machine it gets this interpreter and this working directory, so that relative paths
    in the settings mean the same as in the flow; on a cluster, those of the image. Ray tells all
    its processes to use one thread; a job's own process has no other that would be in its way.
    """
    environment = ["env", "-u", "OMP_NUM_THREADS"]
    if not is_here:
        return shlex.join([*environment, *job.argv])
    argv = [*environment, sys.executable, *job.argv[1:]]
    return f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(argv)}"


def _follow(server: JobServer, job: Job, submission_id: str, log: JobLog) -> JobDetails:
    logger = get_run_logger()
    began = time.monotonic()
    with JobProgress(job.name, logger) as progress:
        while True:
            interruption.raise_if_asked()
            looked = time.monotonic()
            # First the state, then the log: what is read after the end is whole.
            details = server.find(submission_id)
            if details is None:
                raise JobLostError(f"{job.name}: the Ray cluster no longer knows {submission_id}.")
            has_ended = details.status.is_terminal()
            for line in log.new_lines(server.log(submission_id), is_whole=has_ended):
                line_of_progress = parse_progress(line)
                if line_of_progress is None:
                    logger.info("%s", line)
                else:
                    progress.show(line_of_progress)
            if has_ended:
                return details
            time.sleep(pause_s(looked - began, time.monotonic() - looked))


def pause_s(age_s: float, look_s: float) -> float:
    """How long to wait until the next look: looking takes processors that the job could use."""
    return max(POLL_S, 10 * look_s, min(MOST_POLL_S, age_s / 50))


def _outcome(job: Job, details: JobDetails, log: JobLog, page: str) -> dict[str, Any]:
    if details.status is JobStatus.SUCCEEDED and log.record is not None:
        return log.record
    code = details.driver_exit_code
    if code == 1 and log.error is not None:
        raise JobFailedError(f"{job.name}: {log.error}")
    # Python ends with 1 after a traceback: a bug, which stays, or what the cluster lost.
    is_a_bug = code == 1 and not log.blames_the_cluster
    raise (JobFailedError if is_a_bug else JobLostError)(
        f"{job.name} ended as {details.status.value} with exit code {code} and no error of its "
        f"own; its last line was: {log.last_line[:300]} (whole log: {page})"
    )
