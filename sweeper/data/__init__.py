"""What ships with Isorate: the demo's tasks and its calibration text."""
