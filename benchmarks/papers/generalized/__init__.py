"""Wang et al., the same paper: adversarial training against several kinds of attack."""
