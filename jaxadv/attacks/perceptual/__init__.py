"""Searches under the LPIPS distance."""
