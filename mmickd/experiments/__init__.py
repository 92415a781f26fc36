"""Many runs: plans, jobs, tuning, tables and plots."""
