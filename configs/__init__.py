"""Experiments as files: `get_config()` of each is a config of train.py or eval.py."""
