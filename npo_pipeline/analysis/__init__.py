"""What finished runs and evaluations say.

results, load, inputs                       what is read, and what is checked before
statistics, series, summary, benchmarks     numbers that report and comparison share
methods, costs, spending                    what a method is called and needs, what that cost, and what each stage used
numbers, style                              how they are written and drawn
report/ comparison/ measurement/            the page; the table over methods and seeds; Q, V and S measured
"""
