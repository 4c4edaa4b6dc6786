"""The report: statistics of the evaluations, figures, comparison tables and one self-contained HTML page."""
