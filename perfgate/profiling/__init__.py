"""Hardware counters by ncu, where they are kept, and what they say of why a case moved."""
