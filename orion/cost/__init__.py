"""The cost of a run, before it starts and after: jobs, completions, tokens, hours and money.

``planned_jobs`` asks Snakemake what would run, ``pilot`` reads what an earlier run has cost,
``counts`` says how many completions are asked for and how many of them are stored, ``estimate``
multiplies, ``record`` keeps it. ``actual`` and ``arm_costs`` add up what the jobs of a run have
cost, ``ceiling`` refuses a run that may spend less than it has. The comparisons that are registered
before a run, ``results/plan.json``, are another matter: ``orion.experiment.plan``.
"""
