"""WHEN things run: Prefect flows that start jobs by name. No flow computes anything itself."""
