"""The experiment: filters on reflections, estimators and intervals, paired comparisons of arms."""
