"""The model of a kernel's time (`perfgate.hardware.cost_model`) held to measured times of drawn pairs."""
