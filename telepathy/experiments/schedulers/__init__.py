"""Run a suite with workers on this machine or jobs on a SLURM cluster; push results with git."""
