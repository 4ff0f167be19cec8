"""GPUs and architectures as data: published limits, occupancy, and the modelled time of a kernel."""
