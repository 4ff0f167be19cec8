"""The gate on GitHub: what an event asks for, who may use the card, what a run concludes, and what its author is told.

Runs on hosted runners with msgspec alone; `admit` and `pins` need the standard library alone (see each).
"""
