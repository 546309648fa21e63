"""Training: the loop, its state and steps, configs, validation, logs."""
