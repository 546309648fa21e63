"""Wang et al., "Adversarial attack generation empowered by min-max optimization"."""
