"""Many variants of one spec: the values to try, a condition on them, the analysis over several processes, a scatter plot."""
