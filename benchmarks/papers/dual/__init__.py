"""Dual perturbations of foreground and background (Tong et al.), in small."""
