"""The gate on GitHub: what an event asks for, who may use the card, what a run concludes, and what its author is told.

Needs the standard library alone: it runs on hosted runners and in the hook of the machine with the card.
"""
