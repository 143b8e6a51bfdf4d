"""When: Prefect flows that order the jobs. Jobs are started by name, never imported."""
