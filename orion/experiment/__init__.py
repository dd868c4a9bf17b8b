"""The experiment: filters, statistics, comparisons."""
