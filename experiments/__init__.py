"""Analysis of online experiments: assignment, statistics, readouts. A leaf: imports nothing of ours."""
