"""The tests and cases of this kernel."""
