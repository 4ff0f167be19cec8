"""The kernel's errors against float64 at every precision, KernelBench's check, and what full accuracy costs."""
