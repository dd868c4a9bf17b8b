"""The report stage: every artifact of the grid → one page, its numbers as CSV and JSON, its figures as SVG.

``chain`` says which artifacts the grid has and verifies their provenance, ``gather`` reads them, ``measures``,
``reflections``, ``comparisons`` and ``examples`` turn them into rows, ``words`` into sentences, ``figures`` and ``page``
show them. The page holds no number that is not in report.json. Run: ``python -m orion.report --help``.
"""
