"""Ray's job server as the flows see it: every call bounded, a short silence forgiven."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from flows.cluster import HTTP_TIMEOUT_S, Cluster
from flows.errors import JobLostError

Answer = TypeVar("Answer")


class BoundedClient(JobSubmissionClient):
    """Ray's own client, which otherwise waits for ever for an answer."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", HTTP_TIMEOUT_S)
        return super()._do_request(method, endpoint, **options)


class JobServer:
    """The jobs of one cluster.

    Args:
        cluster: Where it is, and how long its silence is taken for a hiccup.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client: BoundedClient | None = None

    def page(self, submission_id: str) -> str:
        """Address of a job's page on the dashboard."""
        return f"{self._cluster.url}/#/jobs/{submission_id}"

    def find(self, submission_id: str) -> JobDetails | None:
        """What is known of a job, or ``None`` if the cluster never had it."""
        return self._ask(lambda client: _find(client, submission_id))

    def submit(self, submission_id: str, command: str, metadata: Mapping[str, str]) -> None:
        """Start a job unless an earlier try, whose answer was lost, already has."""

        def submit(client: BoundedClient) -> None:
            if _find(client, submission_id) is None:
                client.submit_job(
                    entrypoint=command, submission_id=submission_id, metadata=dict(metadata)
                )

        self._ask(submit)

    def log(self, submission_id: str) -> str:
        """Everything a job has printed so far."""
        return self._ask(lambda client: client.get_job_logs(submission_id))

    def stop(self, submission_id: str, *, wait_s: float = 0.0) -> None:
        """Ask once that a job be stopped; an unreachable cluster is not waited for.

        Args:
            submission_id: Which job.
            wait_s: How long it may take to end, as a training does that saves a checkpoint first.
        """
        deadline = time.monotonic() + wait_s
        try:
            self._connect().stop_job(submission_id)
            while time.monotonic() < deadline:
                details = _find(self._connect(), submission_id)
                if details is None or details.status.is_terminal():
                    return
                time.sleep(0.5)
        except (OSError, RuntimeError):
            return

    def running(self, **metadata: str) -> list[str]:
        """The unfinished jobs with this metadata; an unreachable cluster is not waited for."""
        try:
            jobs = self._connect().list_jobs()
        except (OSError, RuntimeError):
            return []
        return [
            job.submission_id
            for job in jobs
            if job.submission_id
            and not job.status.is_terminal()
            and metadata.items() <= (job.metadata or {}).items()
        ]

    def _ask(self, question: Callable[[BoundedClient], Answer]) -> Answer:
        deadline = time.monotonic() + self._cluster.patience_s
        while True:
            try:
                return question(self._connect())
            # OSError covers lost connections; Ray raises RuntimeError for every other answer.
            except (OSError, RuntimeError) as error:
                if time.monotonic() > deadline or not self._cluster.is_alive():
                    raise JobLostError(
                        f"The Ray dashboard at {self._cluster.url} does not answer any more: "
                        f"{' '.join(str(error).split())[:200]}"
                    ) from error
            time.sleep(1.0)

    def _connect(self) -> BoundedClient:
        if self._client is None:
            self._client = BoundedClient(self._cluster.url)
        return self._client


def _find(client: BoundedClient, submission_id: str) -> JobDetails | None:
    try:
        return client.get_job_info(submission_id)
    except RuntimeError as error:
        if "status code 404" in str(error):
            return None
        raise


def has_failed(details: JobDetails) -> bool:
    """Whether a job ended without success, so that only a new attempt can help."""
    return details.status in {JobStatus.FAILED, JobStatus.STOPPED}
