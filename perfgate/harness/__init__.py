"""What runs inside a worker, with torch: the pytest plugin, timer, arms, monitor, guards, and Triton's insides."""
