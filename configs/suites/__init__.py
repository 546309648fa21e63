"""Suites of attacks, for eval.py and `jaxadv.evaluate`."""
