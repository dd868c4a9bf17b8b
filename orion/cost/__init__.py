"""The cost of a run before it starts: its jobs, completions, tokens, hours and money.

``planned_jobs`` asks Snakemake what would run, ``pilot`` reads what an earlier run has cost,
``counts`` says how many completions are asked for, ``stored`` how many of them there are already,
``estimate`` multiplies. The comparisons that are registered before a run, ``results/plan.json``,
are another matter: ``orion.experiment.plan``.
"""
