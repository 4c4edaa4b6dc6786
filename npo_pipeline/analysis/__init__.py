"""What finished runs and evaluations say.

results, load, inputs                       what is read, and what is checked before
statistics, series, summary, benchmarks     numbers that report and comparison share
methods, costs                              what a method is called and needs, and what that cost
numbers, style                              how they are written and drawn
report/ comparison/ measurement/            the page; the table over methods and seeds; Q, V and S measured
"""
