"""Run the experiments of a suite: workers on this machine, jobs on a SLURM cluster, git pushes."""
