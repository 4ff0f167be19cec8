"""The parent's side of a measurement: holds the GPU, starts the processes, collects what they say. No torch."""
