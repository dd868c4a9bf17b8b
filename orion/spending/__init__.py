"""What a run has spent so far, and the ceiling that stops it before it spends more.

``ceiling`` holds the limits and says which one is reached. ``usage`` adds up the time of jobs from
the usage files of Snakemake, and counts that of the running one. ``totals`` adds up what the
completion store holds, ``account`` puts the three together, and ``stop`` refuses or ends a
training. The estimate of a run that has not started is ``orion.cost``.
"""
