"""Its place puts `tests/` on the import path, for helpers that tests of several folders share (report_results)."""

from hypothesis import settings

# A shared machine makes any test slow now and then: time is pytest-timeout's matter.
settings.register_profile("npo", deadline=None)
settings.load_profile("npo")
