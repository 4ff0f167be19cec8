"""The main job: check, compile, measure and judge in one run; and the update of baselines."""
