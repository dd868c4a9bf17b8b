"""The report: artifacts of the grid → rows, sentences, figures and the page.

``lineage`` lists the artifacts of the grid and verifies their provenance; ``gather`` reads them;
``registration`` says which comparisons were registered before any result;
``measures``, ``sampling``, ``failures``, ``levels``, ``flips``, ``false_steps``, ``reflections``,
``comparisons`` and ``examples`` make rows of them; ``summary`` writes sentences; ``figures`` and
``page`` render. The command is ``orion.stages.report``.
"""
