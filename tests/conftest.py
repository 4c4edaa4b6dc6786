"""Its place puts `tests/` on the import path, for helpers that tests of several folders share (report_results)."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Tiny models are fastest on one thread, and two processes of tests share two cores. Before torch is imported, and for every stage.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shared machine makes any test slow now and then: time is pytest-timeout's matter. The same cases in every run; new ones, and many,
# are what `pytest tests/property --hypothesis-profile=fuzz --timeout=0` is for.
settings.register_profile("npo", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("npo"), max_examples=20_000, derandomize=False)
settings.load_profile("npo")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """All tests are spread over the cores, file by file; single files or tests, which somebody names, are run right here."""
    return os.cpu_count() or 1 if config.args_source == pytest.Config.ArgsSource.TESTPATHS else 0
