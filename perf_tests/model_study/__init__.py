"""The study that holds the model of a kernel's time to measured times: ``python -m perf_tests.model_study``."""
