"""Errors of the door to Ray Jobs; the root is ``nuwa_model.errors.NuwaError``.

* NuwaError
  - JobFailedError     a job ended without success and said why: trying again cannot help
    - JobLostError     a job was killed, or its cluster went away: trying again may help
      - RayHeadError   a local cluster did not start (``flows.ray_head``)
"""

from pipelines.errors import JobFailedError


class JobLostError(JobFailedError):
    """A job ended, or can no longer be seen, without an ``error:`` line of its own."""
