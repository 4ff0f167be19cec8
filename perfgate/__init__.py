"""A performance regression gate for GPU kernels: it measures, compares with stored baselines, and says why."""
